#!lua flags=no-writes,allow-oom
-- What each process told of late. KEYS: callers. ARGV: ms that it is kept.
-- Returns what was told; where no instant stands before it, nobody of ours wrote it, and it is returned whole.
local wrong = misused({'hash'})
if wrong then
  return wrong
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local found = {}
for process, told in pairs(named(redis.call('HGETALL', KEYS[1]))) do
  local at = tonumber(string.match(told, '^(%d+) '))
  if not at then
    found[#found + 1] = told
  elseif at >= now - ARGV[1] then
    found[#found + 1] = string.sub(told, string.find(told, ' ', 1, true) + 1)
  end
end
return found
