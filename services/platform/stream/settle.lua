#!lua flags=allow-oom
-- Acknowledge and delete entries, keep their dead letters, take their counts and marks away, tell who waits.
-- KEYS: stream, backlog, queued, dead, totals. ARGV: group, channel, news, then counted lists: ledger ids; entries, each
-- id, rows, bytes and a counted list of dead letters, each a counted list of fields.
-- A dead letter is written only by the call that deletes its entry, so that a repeat adds none.
local at = 3
local function take()
  at = at + 1
  return ARGV[at]
end
for _ = 1, tonumber(take()) do
  redis.call('HDEL', KEYS[3], take())
end
local rows, bytes, deleted = 0, 0, 0
for _ = 1, tonumber(take()) do
  local id, entry_rows, entry_bytes = take(), take(), take()
  redis.call('XACK', KEYS[1], ARGV[1], id)
  local present = redis.call('XDEL', KEYS[1], id) == 1
  if present then
    deleted = deleted + 1
    rows = rows + entry_rows
    bytes = bytes + entry_bytes
  end
  for _ = 1, tonumber(take()) do
    local letter = {}
    for field = 1, tonumber(take()) do
      letter[field] = take()
    end
    if present then
      redis.call('XADD', KEYS[4], '*', unpack(letter))
    end
  end
end
redis.call('HINCRBY', KEYS[5], 'settled', rows)
if redis.call('XLEN', KEYS[1]) == 0 then
  redis.call('DEL', KEYS[2], KEYS[3])
else
  -- An entry that was put in by hand was not counted: what it claims must not push the counts below nothing.
  for name, taken in pairs({rows = rows, bytes = bytes}) do
    if redis.call('HINCRBY', KEYS[2], name, -taken) < 0 then
      redis.call('HSET', KEYS[2], name, 0)
    end
  end
end
if ARGV[3] ~= '' then
  redis.call('PUBLISH', ARGV[2], ARGV[3])
end
return deleted
