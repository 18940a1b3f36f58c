/* A list of any length of sensors: rows exist only where they are seen, and only these ask for what they show. */

import { json } from "./api.js";
import { age, element, instant, number, settled } from "./dom.js";
import { escaped } from "./matching.js";
import { seriesOf } from "./question.js";
import { link } from "./state.js";

const ROW = 44;
const BESIDE = 5;
/** Milliseconds between two looks at the rows that are seen. */
export const AFRESH = 5000;
const NAMES = 20;
const SPARK = { start: "-24h", agg: "avg", bucket: "30m", fill: "null", layout: "columns", epoch: "ms" };
const [SPARK_WIDTH, SPARK_HEIGHT] = [120, 28];

/**
 * Return `{ node, add, clear, count, picked, unpick, close }`. A row is a sensor of the catalogue, perhaps with `latest`.
 *
 * `failed(error)` is told where rows could not be filled, `answered()` where all that are seen were, `changed()` when a
 * person has picked other sensors; these stay so until `unpick()`, whatever the list is of.
 */
export function rows({ failed, answered, changed }) {
  let all = [];
  const chosen = new Set();
  let stop = new AbortController();
  const list = element("ul", { class: "rows" });
  const node = element("div", { class: "scroller sensors", id: "sensors", tabindex: "0", role: "region", "aria-label": "Sensors",
    onscroll: () => { draw(); ask(); } }, list);
  const ask = settled(fill, 120);
  const timer = setInterval(() => {
    if (document.hidden) return;
    for (const row of seen()) row.stale = true;
    fill();
  }, AFRESH);
  const size = new ResizeObserver(() => { draw(); ask(); });
  size.observe(node);

  function span() {
    const first = Math.max(Math.floor(node.scrollTop / ROW) - BESIDE, 0);
    return [first, Math.min(first + Math.ceil(node.clientHeight / ROW) + 2 * BESIDE, all.length)];
  }

  function seen() {
    return all.slice(...span());
  }

  function draw() {
    const [first, last] = span();
    list.style.height = `${all.length * ROW}px`;
    const focused = document.activeElement?.dataset?.place;
    list.replaceChildren(...all.slice(first, last).map((row, place) => made(row, first + place)));
    if (focused !== undefined) list.querySelector(`[data-place="${focused}"]`)?.focus({ preventScroll: true });
  }

  /** Ask for what the rows that are seen lack: newest values, a day's course, and what each is called. */
  async function fill() {
    stop.abort();
    stop = new AbortController();
    const { signal } = stop;
    const shown = seen();
    const lacking = (test) => shown.filter(test);
    const ids = (some) => some.map((row) => row.sensor_id);
    const parts = [
      [lacking((row) => !row.latest || row.stale), async (some) => {
        const { data } = await json("latest", { sensor_id: ids(some), epoch: "ms" }, { signal });
        const found = new Map(data.map((each) => [each.sensor_id, each]));
        for (const row of some) Object.assign(row, { latest: found.get(row.sensor_id) ?? {}, stale: false });
      }],
      [lacking((row) => row.first_seen === undefined), async (some) => {
        for (let from = 0; from < some.length; from += NAMES) {
          const { data } = await json("sensors", { match: ids(some.slice(from, from + NAMES)).map(escaped) }, { signal });
          const found = new Map(data.map((each) => [each.sensor_id, each]));
          for (const row of some) Object.assign(row, found.get(row.sensor_id));
        }
      }],
      [lacking((row) => !row.spark), async (some) => {
        const { data } = await json("series", { sensor_id: ids(some), ...SPARK }, { signal, post: true });
        const found = new Map(seriesOf(data, ["avg"]).map((each) => [each.sensor, each.values]));
        for (const row of some) row.spark = found.get(row.sensor_id) ?? [];
      }],
    ];
    // What fails is asked again with the next look.
    const ends = await Promise.allSettled(parts.filter(([some]) => some.length).map(async ([some, act]) => {
      await act(some);
      if (!signal.aborted) draw();
    }));
    if (signal.aborted) return;
    const failure = ends.find(({ status }) => status === "rejected");
    if (failure) {
      // Ages go on.
      draw();
      failed(failure.reason);
    } else answered();
  }

  function made(row, place) {
    const heard = row.latest?.timestamp;
    const text = heard === undefined ? (row.latest ? "no reading" : "…") : `${number(row.latest.value)} ${row.unit ?? ""}`;
    const anchor = element("a", { class: "row", "data-place": String(place),
      href: link("explore", { sensor_id: row.sensor_id, ...ranged(heard) }) },
    element("span", { class: "id" }, row.name ?? row.sensor_id, element("small", {}, described(row))),
    spark(row.spark ?? []),
    element("span", { class: "value" }, text),
    element("time", { class: "age", title: heard === undefined ? null : instant(heard) },
      heard === undefined ? "" : ago((Date.now() - heard) / 1000)));
    const box = element("input", { type: "checkbox", "aria-label": `Pick ${row.name ?? row.sensor_id}`, "data-place": `${place} box`,
      checked: chosen.has(row.sensor_id), onchange: () => pick(row.sensor_id, box.checked) });
    const item = element("li", { "aria-setsize": String(all.length), "aria-posinset": String(place + 1) },
      element("label", { class: "pick" }, box), anchor);
    item.style.top = `${place * ROW}px`;
    return item;
  }

  function pick(id, wanted) {
    chosen[wanted ? "add" : "delete"](id);
    changed();
  }

  return {
    node,
    count: () => all.length,
    picked: () => [...chosen],
    unpick() {
      chosen.clear();
      draw();
      changed();
    },
    add(more) {
      all = all.length ? all.concat(more) : more;
      draw();
      ask();
    },
    clear() {
      stop.abort();
      answered();
      all = [];
      node.scrollTop = 0;
      draw();
    },
    close() {
      stop.abort();
      clearInterval(timer);
      size.disconnect();
    },
  };
}

function ago(seconds) {
  return seconds < 0 ? age(seconds) : `${age(seconds)} ago`;
}

/** Return the range that a sensor is looked at in: a day to now, or where it has been silent, to its newest reading. */
function ranged(heard) {
  if (heard === undefined || Date.now() - heard < 86_400_000) return { start: "-24h" };
  return { start: new Date(heard - 86_400_000).toISOString(), end: new Date(heard + 1000).toISOString() };
}

function described(row) {
  const labels = Object.entries(row.labels ?? {}).map(([label, value]) => `${label}=${value}`);
  return [row.field, ...labels].filter(Boolean).join(" ");
}

/** Return a sensor's last day as a small line. */
function spark(values) {
  const svg = (name, attributes) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    return made;
  };
  const picture = svg("svg", { class: "spark", viewBox: `0 0 ${SPARK_WIDTH} ${SPARK_HEIGHT}`, "aria-hidden": "true" });
  const known = values.filter((value) => value !== null);
  if (!known.length) return picture;
  const [low, high] = [Math.min(...known), Math.max(...known)];
  const x = (place) => (place / Math.max(values.length - 1, 1)) * (SPARK_WIDTH - 4) + 2;
  const y = (value) => SPARK_HEIGHT - 3 - ((value - low) / (high - low || 1)) * (SPARK_HEIGHT - 6);
  let path = "";
  values.forEach((value, place) => {
    if (value === null) return;
    const begins = place === 0 || values[place - 1] === null;
    // A value alone is a dot: a line of no length with round ends.
    path += `${begins ? "M" : "L"}${x(place).toFixed(1)} ${y(value).toFixed(1)}${begins ? "h0" : ""}`;
  });
  picture.append(svg("path", { d: path }));
  return picture;
}
