-- What every script begins with, behind the line that names its flags. Each script is one step for everybody else, and
-- says in its head what it does, its KEYS and ARGV, and what it returns.

-- Return an error that names the first of KEYS that holds another type than belongs there, or nil. To be asked before
-- anything is written: a command that fails on the way would leave half of a step done.
local function misused(types)
  for i, expected in ipairs(types) do
    local found = redis.call('TYPE', KEYS[i]).ok
    if found ~= 'none' and found ~= expected then
      return redis.error_reply('MISUSED the key ' .. KEYS[i] .. ' holds a ' .. found .. ' where a ' .. expected ..
        ' belongs; rename or delete it')
    end
  end
end

-- Move a count and return it; what is no number is told in the server's log, and counts as nothing.
local function move(key, field, by)
  local moved = redis.pcall('HINCRBY', key, field, by)
  if type(moved) == 'table' then
    redis.log(redis.LOG_WARNING, 'millrace: ' .. key .. ' ' .. field .. ' held no number and counts from nothing')
    moved = math.max(0, tonumber(by))
    redis.call('HSET', key, field, moved)
  end
  return moved
end

-- Return pairs as a table.
local function named(flat)
  local found = {}
  for i = 1, #flat, 2 do
    found[flat[i]] = flat[i + 1]
  end
  return found
end
