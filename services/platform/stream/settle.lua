#!lua flags=allow-oom
-- Acknowledge and delete entries, keep their dead letters, take their counts and marks away, tell who waits.
-- KEYS: stream, backlog, queued, dead. ARGV: group, channel, packed settlement.
-- A dead letter is written only by the call that deletes its entry, so that a repeat adds none.
local work = cmsgpack.unpack(ARGV[3])
local rows, bytes, deleted = 0, 0, 0
for _, entry in ipairs(work.entries) do
  redis.call('XACK', KEYS[1], ARGV[1], entry[1])
  if redis.call('XDEL', KEYS[1], entry[1]) == 1 then
    deleted = deleted + 1
    rows = rows + entry[2]
    bytes = bytes + entry[3]
    for _, letter in ipairs(entry[4]) do
      redis.call('XADD', KEYS[4], '*', unpack(letter))
    end
  end
end
for _, id in ipairs(work.ledger_ids) do
  redis.call('HDEL', KEYS[3], id)
end
if redis.call('XLEN', KEYS[1]) == 0 then
  redis.call('DEL', KEYS[2], KEYS[3])
else
  redis.call('HINCRBY', KEYS[2], 'rows', -rows)
  redis.call('HINCRBY', KEYS[2], 'bytes', -bytes)
end
if work.told ~= '' then
  redis.call('PUBLISH', ARGV[2], work.told)
end
return deleted
