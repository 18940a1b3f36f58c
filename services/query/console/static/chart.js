/* The plot: uPlot with gaps, an axis a unit, zoom and pan by mouse and keys. What it shows is asked for by others. */

import { aligned, nearest, withGaps } from "./columns.js";
import { element, number } from "./dom.js";

const AXIS = 72;
const EDGE = 12;
/** Half of the widest mark of the time axis: the last one may stand at the plot's end. */
const HALF_MARK = 44;
const [DAY, YEAR] = [86_400_000, 365 * 86_400_000];

/** Years from mark to mark where a range is longer than uPlot, which knows centuries at most, has marks for. */
const AGES = [20, 50, 100, 200, 500, 1000, 2000, 5000].map((years) => years * YEAR);
const [LONG, EARLIEST] = [200 * YEAR, 100];
const COLORS = 8;

/** Lines of one color are told apart by these; the stylesheet has the same for those beside names. */
const STROKES = {
  line: { width: 1.5, dash: [] }, high: { width: 1, dash: [] }, low: { width: 1, dash: [2, 3] },
  "line dashed": { width: 1.5, dash: [6, 4] }, "high dashed": { width: 1, dash: [6, 4] }, "low dashed": { width: 1, dash: [6, 3, 1, 3] },
};

/** Return the unit of a series: the sensor's, or what its aggregate makes of it. */
export function unitOf(aggregate, unit) {
  if (aggregate === "count") return "readings";
  if (aggregate === "rate") return unit ? `${unit}/s` : "1/s";
  if (aggregate === "integral") return unit ? `${unit}·s` : "s";
  return unit;
}

/** Return how many device pixels wide the plot in `host` is, beside so many axes: a point a pixel is drawn exactly. */
export function plotWidth(host, axes) {
  const width = host.clientWidth - axes * AXIS - (axes > 1 ? 0 : HALF_MARK);
  return Math.max(Math.round(width * devicePixelRatio), 1);
}

/**
 * Make a plot in `host`. `onrange(start, end)` is told of a range that a person chose, `oncursor(places)` of the place of
 * each series' value that is nearest to the cursor, in `shown()`, or of null where the cursor left.
 */
export function chart(host, { onrange, oncursor }) {
  let plot = null;
  let shown = { series: [], table: [[]], range: [0, 1] };
  let drawn = null;

  /** Draw series `{ name, unit, dashed, times, values }` over a range `[start, end]` of milliseconds in a zone. */
  function draw(series, range, zone) {
    drawn = { series, range, zone };
    const pixel = (range[1] - range[0]) / plotWidth(host, axesOf(series).length);
    const broken = series.map((each) => withGaps(each, pixel));
    shown = { series: broken, table: aligned(broken), range };
    const cursor = plot ? { left: plot.cursor.left, top: plot.cursor.top } : null;
    plot?.destroy();
    plot = new uPlot(options(shown.series, range, zone), shown.table, host);
    if (cursor?.left >= 0) plot.setCursor(cursor);
  }

  function options(series, range, zone) {
    const style = getComputedStyle(document.documentElement);
    const [text, lines] = [style.getPropertyValue("--muted"), style.getPropertyValue("--line")];
    const units = axesOf(series);
    const look = { stroke: text, grid: { stroke: lines, width: 1 }, ticks: { stroke: lines, width: 1 } };
    return {
      width: host.clientWidth, height: host.clientHeight, ms: 1, legend: { show: false },
      padding: [EDGE, units.length > 1 ? 0 : HALF_MARK, 0, 0],
      tzDate: (time) => uPlot.tzDate(new Date(time), zone === "UTC" ? "Etc/UTC" : zone),
      cursor: {
        drag: { x: true, y: false, setScale: false }, points: { size: 7 },
        dataIdx: (self, which, place) => (which ? nearest(self.data[which], place) ?? place : place),
        bind: {
          dblclick: () => () => { zoom(0.5); return null; },
          mousedown: (self, target, handler) => (event) => (event.shiftKey ? drag(event) : handler(event)),
        },
      },
      scales: {
        x: { time: true, range: () => range },
        ...Object.fromEntries(units.map((unit) => [scaleOf(unit), { range: fitted }])),
      },
      axes: [
        { ...look, ...marks(range), space: 80, values: (self, splits, _, __, step) => dates(splits, step, zone) },
        ...units.map((unit, place) => ({
          ...look, scale: scaleOf(unit), side: place % 2 ? 1 : 3, size: AXIS,
          grid: place ? { show: false } : look.grid, values: (_, splits) => splits.map((value) => `${number(value)} ${unit}`.trim()),
        })),
      ],
      series: [{}, ...series.map((each) => ({
        label: each.name, scale: scaleOf(each.unit), stroke: color(each.color), ...STROKES[strokeOf(each)], spanGaps: false, points: { size: 5, filter: alone },
      }))],
      bands: bandsOf(series),
      hooks: {
        setSelect: [(self) => {
          if (self.select.width < 3) return;
          const [from, to] = [self.select.left, self.select.left + self.select.width].map((at) => self.posToVal(at, "x"));
          self.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
          choose(from, to);
        }],
        setCursor: [(self) => oncursor(self.cursor.left < 0 ? null : self.cursor.idxs.slice(1))],
      },
    };
  }

  function choose(from, to) {
    const [start, end] = [Math.floor(from), Math.max(Math.ceil(to), Math.floor(from) + 1)];
    plot.setScale("x", { min: start, max: end });
    onrange(start, end);
  }

  /** Show a range by so much longer or shorter, around the cursor or the middle. */
  function zoom(factor) {
    const [start, end] = shown.range;
    const at = plot?.cursor.left >= 0 ? plot.posToVal(plot.cursor.left, "x") : (start + end) / 2;
    choose(at - (at - start) / factor, at + (end - at) / factor);
  }

  /** Show what comes before or behind, by a share of the range. */
  function pan(share) {
    const [start, end] = shown.range;
    choose(start + share * (end - start), end + share * (end - start));
  }

  function drag(event) {
    const [from, width] = [event.clientX, plot.over.clientWidth];
    const moved = (now) => { plot.over.style.transform = `translateX(${now.clientX - from}px)`; };
    addEventListener("mousemove", moved);
    addEventListener("mouseup", (now) => {
      removeEventListener("mousemove", moved);
      plot.over.style.transform = "";
      if (now.clientX !== from) pan((from - now.clientX) / width);
    }, { once: true });
    return null;
  }

  function step(count) {
    const last = shown.table[0].length - 1;
    if (!plot || last < 0) return;
    const place = Math.min(Math.max((plot.cursor.idx ?? (count > 0 ? -1 : last + 1)) + count, 0), last);
    plot.setCursor({ left: plot.valToPos(shown.table[0][place], "x"), top: plot.over.clientHeight / 2 });
  }

  const KEYS = {
    ArrowLeft: (event) => (event.shiftKey ? pan(-0.5) : step(event.ctrlKey ? -10 : -1)),
    ArrowRight: (event) => (event.shiftKey ? pan(0.5) : step(event.ctrlKey ? 10 : 1)),
    Home: () => step(-Infinity), End: () => step(Infinity),
    "+": () => zoom(2), "=": () => zoom(2), "-": () => zoom(0.5),
  };
  host.addEventListener("keydown", (event) => {
    if (!(event.key in KEYS) || event.altKey || event.metaKey) return;
    event.preventDefault();
    KEYS[event.key](event);
  });
  host.addEventListener("wheel", (event) => {
    if (!event.ctrlKey || !plot) return;
    event.preventDefault();
    zoom(event.deltaY < 0 ? 1.5 : 1 / 1.5);
  }, { passive: false });
  const again = () => { if (drawn) draw(drawn.series, drawn.range, drawn.zone); };
  const scheme = matchMedia("(prefers-color-scheme: dark)");
  scheme.addEventListener("change", again);
  const size = new ResizeObserver(() => {
    if (plot && (plot.width !== host.clientWidth || plot.height !== host.clientHeight)) again();
  });
  size.observe(host);

  return {
    draw, zoom, pan, shown: () => shown,
    destroy() {
      size.disconnect();
      scheme.removeEventListener("change", again);
      plot?.destroy();
    },
  };
}

/** Return the color of a series by its number; the stylesheet has them for light and dark. */
export function color(which) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--series-${(which % COLORS) + 1}`).trim();
}

/** Return the kind of a series' line: the edges of a band differ from what they are around, and the period before is dashed. */
export function strokeOf({ edge, aggregate, dashed }) {
  const kind = edge ? { max: "high", min: "low" }[aggregate] : "line";
  return dashed ? `${kind} dashed` : kind;
}

/** Return the units of series, each once, in their order: every one has an axis. */
export function axesOf(series) {
  return [...new Set(series.map((each) => each.unit ?? ""))];
}

function scaleOf(unit) {
  return `unit ${unit ?? ""}`;
}

function fitted(_, low, high) {
  if (low === null) return [0, 1];
  const room = (high - low) * 0.05 || Math.abs(high) * 0.05 || 1;
  return [low - room, high + room];
}

/** Return which values stand alone, without a neighbour that a line leads to: a dot shows them. */
function alone(self, which) {
  const values = self.data[which];
  const places = [];
  let before = null;
  for (let place = 0; place < values.length; place += 1) {
    if (values[place] === undefined) continue;
    if (values[place] !== null && before === null) {
      let after = place + 1;
      while (after < values.length && values[after] === undefined) after += 1;
      if (after >= values.length || values[after] === null) places.push(place);
    }
    before = values[place];
  }
  return places;
}

/** Return bands between the greatest and the least value of one sensor or group. */
function bandsOf(series) {
  return series.flatMap((high, above) => {
    const below = series.findIndex((low) => low.aggregate === "min" && low.group === high.group && low.dashed === high.dashed);
    if (high.aggregate !== "max" || below < 0) return [];
    const fill = color(high.color);
    return [{ series: [above + 1, below + 1], fill: fill.startsWith("#") ? `${fill}22` : fill }];
  });
}

/** Return how the time axis chooses its marks, where uPlot does not: it takes a year below 100 for one of 1900 on. */
function marks([start, end]) {
  const long = end - start > LONG;
  if (!long && new Date(start).getUTCFullYear() >= EARLIEST) return {};
  const splits = (self, axis, from, to, step) => {
    const years = step / YEAR;
    const at = years < 1 ? (place) => place * step : (place) => new Date(0).setUTCFullYear(place * years, 0, 1);
    const first = years < 1 ? Math.ceil(from / step) : Math.ceil(new Date(from).getUTCFullYear() / years);
    const found = [];
    for (let place = first; at(place) <= to; place += 1) if (at(place) >= from) found.push(at(place));
    return found;
  };
  return long ? { splits, incrs: AGES } : { splits };
}

/** Return what stands at the marks of the time axis, by the browser's locale: the date, or year, where a new one begins. */
function dates(splits, step, zone) {
  const format = (choice, timeZone = zone) => new Intl.DateTimeFormat(undefined, { ...choice, timeZone });
  // Marks of ages are those of UTC.
  if (step >= AGES[0]) return splits.map((at) => format({ year: "numeric" }, "UTC").format(at));
  if (step >= 28 * DAY) return splits.map((at) => format({ month: "short", year: "numeric" }).format(at));
  const day = { day: "numeric", month: "short" };
  const year = { year: "numeric" };
  if (step >= DAY) return below(splits, format(day), format(year));
  const seconds = step < 60_000 ? { second: "2-digit" } : {};
  const parts = step < 1000 ? { fractionalSecondDigits: 3 } : {};
  return below(splits, format({ hour: "2-digit", minute: "2-digit", ...seconds, ...parts }), format({ ...day, ...year }));
}

/** Return instants in one format, and below it in another where that says something new. */
function below(splits, upper, lower) {
  const told = splits.map((at) => lower.format(at));
  return splits.map((at, place) => (told[place] === told[place - 1] ? upper.format(at) : `${upper.format(at)}\n${told[place]}`));
}

/** Return the box that a plot is made in: one can tab to it, and its keys are said. */
export function plotBox() {
  return element("div", { class: "plot", tabindex: "0", role: "application", id: "plot",
    "aria-label": "Plot of the chosen sensors", "aria-describedby": "plot-keys" });
}
