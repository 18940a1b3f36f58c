#!lua flags=no-writes,allow-oom
-- A page of dead letters without their payloads.
-- KEYS: dead. ARGV: the id behind which to begin, the last id, most to find, most to look at, a reason or '', a
-- batch id or ''.
-- Returns the last id looked at ('' where none is left), then the letters found, each: id, bytes of the payload,
-- values of the shown fields ('' where there is none).
local wrong = misused({'stream'})
if wrong then
  return wrong
end
local SHOWN = {'reason', 'detail', 'origin', 'batch_id', 'n'}
local after, looked, found = ARGV[1], 0, {}
while true do
  local read = redis.call('XRANGE', KEYS[1], '(' .. after, ARGV[2], 'COUNT', 8)
  if #read == 0 then
    return {'', found}
  end
  for _, letter in ipairs(read) do
    after, looked = letter[1], looked + 1
    local fields, shown = {}, {}
    for i = 1, #letter[2], 2 do
      fields[letter[2][i]] = letter[2][i + 1]
    end
    for i, name in ipairs(SHOWN) do
      shown[i] = string.sub(fields[name] or '', 1, 1000)
    end
    if (ARGV[5] == '' or fields.reason == ARGV[5]) and (ARGV[6] == '' or fields.batch_id == ARGV[6]) then
      found[#found + 1] = {letter[1], #(fields.e or ''), shown}
    end
    if #found == tonumber(ARGV[3]) or looked == tonumber(ARGV[4]) then
      return {after, found}
    end
  end
end
