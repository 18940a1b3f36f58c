#!lua flags=allow-oom
-- Remove consumers that have nothing pending and have been idle; look and removal are one step, so nothing is lost.
-- Then look for entries that are pending for nobody although they were delivered, as after somebody's DELCONSUMER: an
-- entry leaves the stream with its acknowledgement, so the oldest one is either not delivered yet or pending. Where it
-- is neither, the group starts over; what had been stored meanwhile the ledger tells.
-- KEYS: stream. ARGV: group, idle ms. Returns the removed names, and 1 where the group starts over.
local wrong = misused({'stream'})
if wrong then
  return wrong
end
local removed = {}
for _, flat in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
  local consumer = named(flat)
  if consumer.pending == 0 and consumer.idle > tonumber(ARGV[2]) then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], consumer.name)
    removed[#removed + 1] = consumer.name
  end
end
local oldest = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1]
if oldest then
  for _, flat in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
    local group = named(flat)
    if group.name == ARGV[1] then
      local delivered = #redis.call('XRANGE', KEYS[1], '-', group['last-delivered-id'], 'COUNT', 1) == 1
      if delivered and #redis.call('XPENDING', KEYS[1], ARGV[1], oldest[1], oldest[1], 1) == 0 then
        redis.call('XGROUP', 'SETID', KEYS[1], ARGV[1], '0')
        return {removed, 1}
      end
    end
  end
end
return {removed, 0}
