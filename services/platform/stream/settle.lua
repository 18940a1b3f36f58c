#!lua flags=allow-oom
-- Acknowledge and delete entries, keep their dead letters, take their counts and marks away, tell who waits.
-- KEYS: stream, backlog, queued, dead, totals. ARGV: group, channel, settlement event or '', then counted lists: ledger
-- ids; entries, each id, rows, bytes and a counted list of dead letters, each a counted list of fields.
-- Returns how many entries were still there.
-- A dead letter is written only by the call that deletes its entry, so that a repeat adds none; and it is written
-- first, so that where it cannot be, the entry stays.
local wrong = misused({'stream', 'hash', 'hash', 'stream', 'hash'})
if wrong then
  return wrong
end
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
  local letters = tonumber(take())
  local present = letters > 0 and #redis.call('XRANGE', KEYS[1], id, id) == 1
  for _ = 1, letters do
    local letter = {}
    for field = 1, tonumber(take()) do
      letter[field] = take()
    end
    if present then
      redis.call('XADD', KEYS[4], '*', unpack(letter))
    end
  end
  redis.call('XACK', KEYS[1], ARGV[1], id)
  if redis.call('XDEL', KEYS[1], id) == 1 then
    deleted = deleted + 1
    rows = rows + entry_rows
    bytes = bytes + entry_bytes
  end
end
move(KEYS[5], 'settled', rows)
move(KEYS[5], 'counted', rows)
move(KEYS[5], 'removed', deleted)
if redis.call('XLEN', KEYS[1]) == 0 then
  redis.call('DEL', KEYS[2], KEYS[3])
else
  -- An entry that was put in by hand was not counted: what it claims must not push the counts below nothing.
  for name, taken in pairs({rows = rows, bytes = bytes}) do
    if move(KEYS[2], name, -taken) < 0 then
      redis.call('HSET', KEYS[2], name, 0)
    end
  end
end
if ARGV[3] ~= '' then
  redis.call('PUBLISH', ARGV[2], ARGV[3])
end
return deleted
