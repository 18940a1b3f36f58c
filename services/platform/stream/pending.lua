#!lua flags=no-writes,allow-oom
-- Which entries are pending for a consumer. KEYS: stream. ARGV: group, consumer, ids.
-- Returns those of the ids that are, and those that are though they are gone from the stream.
local pending, gone = {}, {}
for i = 3, #ARGV do
  local id = ARGV[i]
  if #redis.call('XPENDING', KEYS[1], ARGV[1], id, id, 1, ARGV[2]) == 1 then
    local found = #redis.call('XRANGE', KEYS[1], id, id) == 1 and pending or gone
    found[#found + 1] = id
  end
end
return {pending, gone}
