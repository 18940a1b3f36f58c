#!lua flags=no-writes,allow-oom
-- What waits in the stream: entries, rows, bytes, age of the oldest in ms by the server's own clock; then the rows
-- ever accepted and settled.
-- KEYS: stream, backlog, totals.
local totals = redis.call('HMGET', KEYS[3], 'accepted', 'settled')
local accepted, settled = tonumber(totals[1] or 0), tonumber(totals[2] or 0)
local entries = redis.call('XLEN', KEYS[1])
if entries == 0 then
  return {0, 0, 0, 0, accepted, settled}
end
local oldest = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1][1]
local now = redis.call('TIME')
local age = now[1] * 1000 + math.floor(now[2] / 1000) - tonumber(string.match(oldest, '^%d+'))
local counts = redis.call('HMGET', KEYS[2], 'rows', 'bytes')
return {entries, tonumber(counts[1] or 0), tonumber(counts[2] or 0), math.max(age, 0), accepted, settled}
