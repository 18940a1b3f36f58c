#!lua
-- Add one entry with its counts and marks, or nothing where a keyed batch clashes.
-- KEYS: stream, backlog, queued, dead, totals. ARGV: version, rows, payload, the dead letter that the entry replays or '',
-- then pairs of ledger id and mark.
-- Returns the ledger ids whose mark in the stream is another one; none when the entry was added. A dead letter is
-- taken away by the call that adds its entry; where it is gone, nothing is added and 'gone' returned.
local wrong = misused({'stream', 'hash', 'hash', 'stream', 'hash'})
if wrong then
  return wrong
end
local clashes = {}
for i = 5, #ARGV, 2 do
  local mark = redis.call('HGET', KEYS[3], ARGV[i])
  if mark and mark ~= ARGV[i + 1] then
    clashes[#clashes + 1] = ARGV[i]
  end
end
if #clashes > 0 then
  return clashes
end
if ARGV[4] ~= '' and #redis.call('XRANGE', KEYS[4], ARGV[4], ARGV[4]) == 0 then
  return {'gone'}
end
redis.call('XADD', KEYS[1], '*', 'v', ARGV[1], 'n', ARGV[2], 'e', ARGV[3])
if ARGV[4] ~= '' then
  redis.call('XDEL', KEYS[4], ARGV[4])
end
move(KEYS[2], 'rows', ARGV[2])
move(KEYS[2], 'bytes', #ARGV[3])
move(KEYS[5], 'accepted', ARGV[2])
for i = 5, #ARGV, 2 do
  redis.call('HSET', KEYS[3], ARGV[i], ARGV[i + 1])
end
return clashes
