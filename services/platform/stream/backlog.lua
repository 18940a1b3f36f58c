#!lua flags=no-writes,allow-oom
-- What waits in the stream: entries and age of the oldest in ms by the server's own clock; then, as they stand there,
-- the counts of rows and bytes, and the rows ever accepted and settled.
-- KEYS: stream, backlog, queued, dead, totals.
local wrong = misused({'stream', 'hash', 'hash', 'stream', 'hash'})
if wrong then
  return wrong
end
local entries, age = redis.call('XLEN', KEYS[1]), 0
if entries > 0 then
  local oldest = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1][1]
  local now = redis.call('TIME')
  age = math.max(0, now[1] * 1000 + math.floor(now[2] / 1000) - tonumber(string.match(oldest, '^%d+')))
end
local counts = redis.call('HMGET', KEYS[2], 'rows', 'bytes')
local totals = redis.call('HMGET', KEYS[5], 'accepted', 'settled')
return {entries, age, counts[1], counts[2], totals[1], totals[2]}
