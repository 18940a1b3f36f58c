#!lua
-- Keep what one process tells, with the instant, and take away what others told longer ago than it is kept. A server that
-- is out of memory refuses it.
-- KEYS: callers. ARGV: process, ms that it is kept, what is told.
local wrong = misused({'hash'})
if wrong then
  return wrong
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('HSET', KEYS[1], ARGV[1], string.format('%d ', now) .. ARGV[3])
for process, told in pairs(named(redis.call('HGETALL', KEYS[1]))) do
  local at = tonumber(string.match(told, '^(%d+) '))
  if not at or at < now - ARGV[2] then
    redis.call('HDEL', KEYS[1], process)
  end
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
