-- Sends whole requests, prepared in a file, each once and in its order: eight digits of length, then the request.
-- Arguments: the file, or "-" for the request that wrk itself was told; requests a second, 0 for as fast as goes.

local ffi = require("ffi")
ffi.cdef [[
  typedef struct { long seconds; long nanoseconds; } moment;
  int clock_gettime(int clock, moment *now);
]]
local MONOTONIC = 1
local now = ffi.new("moment")

local function milliseconds()
  ffi.C.clock_gettime(MONOTONIC, now)
  return tonumber(now.seconds) * 1000 + tonumber(now.nanoseconds) / 1e6
end

local file, interval, due
rounds = 1

local function prepared()
  local length = file:read(8)
  if not length then
    rounds = rounds + 1
    file:seek("set")
    length = file:read(8)
  end
  return file:read(tonumber(length))
end

local function paced()
  local current = milliseconds()
  due = math.max(due or current, current - 1000) + interval
  return math.max(0, due - current)
end

local threads = {}

function setup(thread)
  table.insert(threads, thread)
end

function init(arguments)
  if arguments[1] ~= "-" then
    file = assert(io.open(arguments[1], "rb"))
    request = prepared
  end
  local rate = tonumber(arguments[2])
  if rate > 0 then
    interval = 1000 / rate
    delay = paced
  end
end

function done(summary, latency)
  local errors = summary.errors
  print(string.format(
    '{"requests":%d,"refused":%d,"broken":%d,"microseconds":%d,"bytes":%d,"p50":%d,"p99":%d,"rounds":%d}',
    summary.requests, errors.status, errors.connect + errors.read + errors.write + errors.timeout,
    summary.duration, summary.bytes, latency:percentile(50), latency:percentile(99), threads[1]:get("rounds")
  ))
end
