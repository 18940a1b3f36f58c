#!lua flags=no-writes,allow-oom
-- Which entries a consumer still holds. KEYS: stream. ARGV: group, consumer, ids.
-- Returns those of the ids that it holds, and those that it holds though they are gone from the stream.
local held, gone = {}, {}
for i = 3, #ARGV do
  local id = ARGV[i]
  if #redis.call('XPENDING', KEYS[1], ARGV[1], id, id, 1, ARGV[2]) == 1 then
    local found = #redis.call('XRANGE', KEYS[1], id, id) == 1 and held or gone
    found[#found + 1] = id
  end
end
return {held, gone}
