/* From the address of the explorer to the parameters of /series. Nothing here knows the page. */

const SECOND = 1000, MINUTE = 60 * SECOND, HOUR = 60 * MINUTE, DAY = 24 * HOUR;
const UNITS = { ms: 1, s: SECOND, m: MINUTE, h: HOUR, d: DAY, w: 7 * DAY, mo: 30 * DAY, y: 365 * DAY };

/** Buckets that are offered, with their usual length in milliseconds. */
export const BUCKETS = [
  ["1s", SECOND], ["5s", 5 * SECOND], ["15s", 15 * SECOND], ["1m", MINUTE], ["5m", 5 * MINUTE], ["15m", 15 * MINUTE],
  ["1h", HOUR], ["3h", 3 * HOUR], ["6h", 6 * HOUR], ["12h", 12 * HOUR], ["1d", DAY], ["1w", 7 * DAY], ["1mo", 30 * DAY],
  ["1y", 365 * DAY],
];

/** Aggregates that are offered; others, such as p99.9, may stand in the address. */
export const AGGREGATES = ["avg", "min", "max", "median", "p95", "sum", "count", "first", "last", "stddev", "delta",
  "increase", "rate", "integral", "twa"];

const BUCKET_PIXELS = 4;
const POINTS_A_PIXEL = 4;

/** The fewest points of a sensor, which are those of one cell of time. */
export const LEAST = 4;

const LOCAL = /^(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d)(:\d\d(?:\.\d{1,3})?)?)?$/;

/** Return a date, or a date and time, that a clock of the zone shows as an instant of UTC; any other text as it stands. */
export function absolute(text, zone) {
  const [, date, minute = "00:00", second = ":00"] = LOCAL.exec(text) ?? [];
  const wall = new Date(`${date}T${minute}${second}Z`);
  // What is no date, such as the 31st of February, and what is no zone, the service refuses by name.
  if (Number.isNaN(wall.getTime()) || !wall.toISOString().startsWith(date)) return text;
  try {
    const before = wall - ahead(wall, zone);
    const at = wall - ahead(before, zone);
    // A time that clocks skip is as far behind the skip as it would be without.
    return new Date(ahead(at, zone) === ahead(before, zone) ? at : Math.max(at, before)).toISOString();
  } catch (error) {
    if (error instanceof RangeError) return text;
    throw error;
  }
}

/** Return what a clock of the zone shows at an instant, to the minute, as 2026-01-31T12:00; nothing where there is none. */
export function wall(at, zone) {
  try {
    return new Date(at + ahead(at, zone)).toISOString().slice(0, 16);
  } catch (error) {
    if (error instanceof RangeError) return "";
    throw error;
  }
}

/** Return by how many milliseconds clocks of a zone are ahead of UTC at an instant. */
function ahead(at, zone) {
  const format = new Intl.DateTimeFormat("en", { timeZone: zone, timeZoneName: "longOffset" });
  const told = format.formatToParts(at).find(({ type }) => type === "timeZoneName").value;
  const [, sign, hours = 0, minutes = 0, seconds = 0] = /([+-])(\d\d):(\d\d)(?::(\d\d))?/.exec(told) ?? [];
  return (sign === "-" ? -1 : 1) * (hours * HOUR + minutes * MINUTE + seconds * SECOND);
}

/** Return an instant in milliseconds, about where an expression such as now-6h or now-1d/d means it; null if unclear. */
export function roughly(text, now) {
  if (!text || text === "now") return now;
  if (/^\d{13}$/.test(text)) return Number(text);
  const back = /^(?:now)?-(\d+)(ms|s|m|h|d|w|mo|y)(?:\/\w+)?$/.exec(text);
  if (back) return now - Number(back[1]) * UNITS[back[2]];
  const parsed = Date.parse(text);
  return Number.isNaN(parsed) ? null : parsed;
}

/**
 * Return how many points of a sensor, and how many buckets of a range, a plot has room for that is so many pixels wide:
 * `{ points, buckets, scarce }`.
 *
 * One question has `cells` for all of its sensors; `scarce` where that is less than the plot has room for. Of less than
 * `LEAST` nothing can be drawn.
 */
export function room(width, sensors, cells) {
  const each = Math.floor(cells / Math.max(sensors, 1));
  const points = Math.max(width, 100) * POINTS_A_PIXEL;
  // A range touches a bucket more than fit into it, at each of its ends.
  const buckets = Math.min(Math.max(width / BUCKET_PIXELS, 10), Math.max(each - 2, 1));
  return { points: Math.min(points, each), buckets, scarce: each < points };
}

/** Return the least offered bucket of which a range has no more than so many. */
export function fitting(span, most) {
  return (BUCKETS.find(([, length]) => span / length <= most) ?? BUCKETS.at(-1))[0];
}

/** Return what the address asks for, and what is left open by it set to what is usual. */
export function stated(given) {
  return {
    // The service refuses a name that stands twice, and an empty one.
    sensors: [...new Set(given.getAll("sensor_id"))].filter(Boolean),
    matches: [...new Set(given.getAll("match"))].filter(Boolean),
    start: given.get("start") || "-6h",
    end: given.get("end") ?? "",
    aggregates: (given.get("agg") ?? "").split(",").filter(Boolean),
    bucket: given.get("bucket") || "auto",
    zone: given.get("tz") || Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC",
    fill: given.get("fill") || "null",
    by: given.get("by") ?? "",
    compare: given.get("compare") === "previous",
    live: given.get("live") === "1",
  };
}

/** Return what stands in the address for what is asked; the opposite of `stated`. */
export function parameters(state) {
  return {
    sensor_id: state.sensors, match: state.matches, start: state.start, end: state.end,
    agg: state.aggregates.join(","), bucket: state.bucket === "auto" ? "" : state.bucket, tz: state.zone,
    fill: state.fill === "null" ? "" : state.fill, by: state.by,
    compare: state.compare ? "previous" : "", live: state.live ? "1" : "",
  };
}

/** Return the question as anybody would ask it: all readings of the range, or its buckets, for which there is `room`. */
export function question(state, { buckets }, now = Date.now()) {
  const [from, to] = [absolute(state.start, state.zone), absolute(state.end, state.zone)];
  const asked = { sensor_id: state.sensors, match: state.matches, start: from, end: to, tz: state.zone };
  if (!state.aggregates.length) return asked;
  const [start, end] = [roughly(from, now), roughly(to, now)];
  const bucket = state.bucket === "auto" ? fitting((end ?? now) - (start ?? now - DAY), buckets) : state.bucket;
  return { ...asked, agg: state.aggregates.join(","), bucket, fill: state.fill, by: state.by };
}

/**
 * Return the question for a plot that has `room`: of readings, the first, last, least and greatest of each pixel where
 * all have room, with which the plot looks as with all of them.
 */
export function plotted(state, room) {
  const asked = { ...question(state, room), layout: "columns", epoch: "ms" };
  return state.aggregates.length ? asked : { ...asked, points: room.points };
}

/**
 * Return the series of an answer in columns: `{ name, sensor, aggregate, times, values }` each, times in milliseconds.
 *
 * Rows are of one sensor, or one group of labels, after another.
 */
export function seriesOf(data, aggregates) {
  const values = aggregates.length ? aggregates : ["value"];
  const keys = Object.keys(data).filter((name) => name !== "timestamp" && !values.includes(name));
  const count = data.timestamp.length;
  const called = (row) => keys.map((key) => (key === "sensor_id" ? data[key][row] : `${key}="${data[key][row]}"`)).join(" ");
  const found = [];
  for (let from = 0; from < count;) {
    let to = from + 1;
    while (to < count && keys.every((key) => data[key][to] === data[key][from])) to += 1;
    for (const aggregate of values) {
      const group = called(from);
      found.push({
        name: [group, aggregates.length ? aggregate : ""].filter(Boolean).join(" "), group, aggregate,
        sensor: data.sensor_id?.[from] ?? null,
        times: data.timestamp.slice(from, to), values: data[aggregate].slice(from, to),
      });
    }
    from = to;
  }
  return found;
}

/** Return the whole range that an answer is of, in milliseconds. */
export function rangeOf(meta) {
  return [meta.source[0].start, meta.source.at(-1).end];
}
