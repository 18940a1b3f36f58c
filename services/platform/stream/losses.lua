#!lua flags=allow-oom
-- Find what left the stream and was not taken off it by a worker, since the last look; whoever looks first is told.
-- The server counts what was ever added, and settling counts what it removes: what is neither there nor removed is
-- missing. Where it is more than at the last look, entries have vanished; where it is less, the stream was made again.
-- Workers of before do not count: rows that were settled and not counted since the last look are theirs, and then
-- nothing is said. KEYS: stream, backlog, queued, dead, totals.
-- Returns the entries that vanished, and the rows that the backlog's counts had too many; these are put right.
local wrong = misused({'stream', 'hash', 'hash', 'stream', 'hash'})
if wrong then
  return wrong
end
local added, there = 0, redis.call('XLEN', KEYS[1])
if redis.call('EXISTS', KEYS[1]) == 1 then
  added = named(redis.call('XINFO', 'STREAM', KEYS[1]))['entries-added']
end
local totals = named(redis.call('HGETALL', KEYS[5]))
local removed, known = tonumber(totals.removed) or 0, tonumber(totals.missing)
local missing = added - there - removed
local uncounted = (tonumber(totals.settled) or 0) - (tonumber(totals.counted) or 0)
redis.call('HSET', KEYS[5], 'missing', missing, 'uncounted', uncounted)
if not known or known == missing or tonumber(totals.uncounted) ~= uncounted then
  return {0, 0}
end
local rows, bytes, after = 0, 0, '-'
repeat
  local page = redis.call('XRANGE', KEYS[1], after, '+', 'COUNT', 64)
  for _, entry in ipairs(page) do
    local fields = named(entry[2])
    local claimed = fields.n or ''
    after = '(' .. entry[1]
    rows = rows + (#claimed < 10 and string.match(claimed, '^%d+$') or 0)
    bytes = bytes + #(fields.e or '')
  end
until #page == 0
local counted = tonumber(redis.call('HGET', KEYS[2], 'rows')) or 0
if there == 0 then
  redis.call('DEL', KEYS[2], KEYS[3])
else
  redis.call('HSET', KEYS[2], 'rows', rows, 'bytes', bytes)
end
return {math.max(0, missing - known), math.max(0, counted - rows)}
