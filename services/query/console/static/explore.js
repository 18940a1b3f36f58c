/* The explorer: a form that is the address, a plot of its question, and what the plot says in words. */

import { AGAIN, later, tell } from "./again.js";
import { Problem, json, limits } from "./api.js";
import { catalogue } from "./catalogue.js";
import { chart, plotBox, plotWidth, unitOf } from "./chart.js";
import { element, number } from "./dom.js";
import { captioned, form } from "./form.js";
import { LEAST, plotted, parameters, question, rangeOf, room, seriesOf, stated } from "./question.js";
import { readout } from "./readout.js";
import { downloads, recipes } from "./take.js";
import { go, link } from "./state.js";

const LIVE_LEAST = 2000;
const LIVE_SHARE = 10;

/** Show the view in `main`; `update` follows the address. */
export function explore(main) {
  let stop = new AbortController();
  let forget = () => {};
  let state = null;
  let lastAxes = 1;
  let lastRoom = room(1, 1, Infinity);
  const called = catalogue();
  const box = plotBox();
  const problem = element("div", {});
  const fewer = element("p", { class: "fewer", id: "fewer", role: "status" });
  const source = element("p", { class: "source", id: "source" });
  const beside = readout();
  const plot = chart(box, {
    onrange: (start, end) => change({ start: new Date(start).toISOString(), end: new Date(end).toISOString(), live: false }),
    oncursor: (places) => beside.at(plot.shown(), places, state.zone),
  });
  const fields = form((changed) => change(changed));
  const buttons = element("div", { class: "bar", role: "group", "aria-label": "Plot" },
    button("⟵ Earlier", () => plot.pan(-0.5)), button("Later ⟶", () => plot.pan(0.5)),
    button("Zoom in", () => plot.zoom(2)), button("Zoom out", () => plot.zoom(0.5)),
    downloads(() => question(state, lastRoom)), recipes(() => question(state, lastRoom)));
  const hint = element("p", { class: "hint", id: "plot-keys" },
    "Drag to zoom, Shift and drag to pan, double-click to zoom out. Keys: ← → read, Shift with them pans, + and − zoom.");
  const shown = element("section", { class: "shown", "aria-label": "Plot and its values" },
    buttons, problem, fewer, box, beside.legend, source, hint, beside.table, beside.points);
  main.replaceChildren(fields.node, shown);

  function button(text, onclick) {
    return element("button", { type: "button", onclick }, text);
  }

  function change(changed) {
    go(link("explore", parameters({ ...state, ...changed })));
  }

  /**
   * Return how much of each of so many sensors has room in the plot beside so many axes.
   *
   * Throws a `Problem` where nothing can be drawn of so many.
   */
  function roomOf(sensors, most, axes) {
    const found = room(plotWidth(box, axes), sensors, most.cells);
    const all = Math.min(most.sensors, Math.floor(most.cells / LEAST));
    if (sensors > all) throw tooMany(all);
    return found;
  }

  async function load() {
    stop.abort();
    forget();
    stop = new AbortController();
    const { signal } = stop;
    const asked = state;
    const began = performance.now();
    let failed = null;
    if (!asked.sensors.length && !asked.matches.length) {
      shown.classList.add("empty");
      problem.replaceChildren(element("p", {}, "Choose a sensor above, or one of ",
        element("a", { href: "#sensors" }, "the list of sensors"), "."));
      return;
    }
    shown.classList.remove("empty");
    box.setAttribute("aria-busy", "true");
    try {
      const most = await limits();
      const calling = called(asked, most, signal);
      // Those that are chosen are counted before; what they are called may come beside the answer.
      const count = asked.matches.length ? new Set([...(await calling).keys(), ...asked.sensors]).size : asked.sensors.length;
      // Mostly there is one axis; what more of them leave of the width is known with the units, which are remembered.
      const guess = plotted(asked, roomOf(count, most, lastAxes));
      const [known, first] = await Promise.all([calling, ask(guess, asked, signal)]);
      const axes = new Set([...known.values()].map(({ unit }) => unit)).size || 1;
      lastRoom = roomOf(count, most, axes);
      const found = axes === lastAxes ? first : await ask(plotted(asked, lastRoom), asked, signal);
      lastAxes = axes;
      const before = asked.compare ? await previous(asked, found, lastRoom, signal) : [];
      const series = [...found.series, ...before].map((each) => named(each, known.get(each.sensor)));
      fields.call(known);
      problem.replaceChildren(...unknown(asked.sensors, known), ...empty(series, known, asked));
      plot.draw(series, found.range, asked.zone);
      beside.show(plot.shown(), asked.zone);
      source.replaceChildren(...sourceOf(found.meta, asked, found.series));
      fewer.textContent = lastRoom.scarce && !asked.aggregates.length ? fewerOf(count, lastRoom) : "";
      source.setAttribute("aria-live", asked.live ? "off" : "polite");
      box.dataset.drawn = String(Number(box.dataset.drawn ?? 0) + 1);
    } catch (error) {
      if (error.name === "AbortError") return;
      failed = error;
      fewer.textContent = "";
      tell(problem, captioned(error), error.passes ? AGAIN : null);
    } finally {
      if (!signal.aborted) {
        box.removeAttribute("aria-busy");
        // A question that is dear is asked seldom: it takes a tenth of the time at most.
        if (failed?.passes) forget = later(load, AGAIN);
        else if (asked.live) forget = later(load, Math.max(LIVE_LEAST, LIVE_SHARE * (performance.now() - began)));
      }
    }
  }

  async function ask(parameters, { aggregates }, signal) {
    const many = [parameters.sensor_id, parameters.match].flat().length > 20;
    const { data, meta } = await json("series", many ? listed(parameters) : parameters, { signal, post: many });
    return { meta, range: rangeOf(meta), series: colored(seriesOf(data, aggregates)) };
  }

  /** Return the series of the period before, moved to where the shown ones are. */
  async function previous(asked, found, fits, signal) {
    const [start, end] = found.range;
    const length = end - start;
    const range = { start: new Date(start - length).toISOString(), end: new Date(start).toISOString() };
    const before = await ask({ ...plotted({ ...asked, ...range, bucket: found.meta.bucket ?? "auto" }, fits) }, asked, signal);
    const moved = start - before.range[0];
    return before.series.map((each) => ({
      ...each, name: `${each.name} (before)`, dashed: true, times: each.times.map((time) => time + moved), moved,
      color: found.series.find((other) => other.name === each.name)?.color ?? each.color,
    }));
  }

  return {
    close() {
      stop.abort();
      forget();
      fields.close();
      plot.destroy();
    },
    update(given) {
      state = stated(given);
      fields.show(state);
      load();
    },
  };
}

/** Return series with the numbers of their colors; the edges of a band have that of what they are around. */
function colored(series) {
  const bands = new Set(series.filter((each) => each.aggregate === "min").map((each) => each.group)
    .filter((group) => series.some((each) => each.aggregate === "max" && each.group === group)));
  let next = 0;
  const ofBand = new Map();
  return series.map((each) => {
    const inBand = bands.has(each.group) && ["avg", "min", "max"].includes(each.aggregate);
    const color = inBand ? ofBand.get(each.group) ?? next++ : next++;
    if (inBand) ofBand.set(each.group, color);
    return { ...each, color, dashed: false, edge: inBand && each.aggregate !== "avg" };
  });
}

/** Return a series with its unit and with the name of its sensor, where the catalogue knows that. */
function named(series, known) {
  const name = known ? series.name.replace(series.sensor, () => known.name) : series.name;
  return { ...series, name, unit: unitOf(series.aggregate, known?.unit ?? "") };
}

/** Return the parameters as the body of a POST: what is empty is left out. */
function listed(parameters) {
  return Object.fromEntries(Object.entries(parameters).filter(([, value]) => value !== "" && value?.length !== 0));
}

/** Return the problem of more sensors than can be drawn. */
function tooMany(all) {
  return new Problem(422, { title: "These are too many sensors for one plot", detail: `At most ${number(all)} can be `
    + "drawn at once. Choose fewer: by more of an id, a narrower glob, or a selector with one more label." });
}

/** Return what to say where sensors have fewer points than the plot has room for. */
function fewerOf(sensors, { points }) {
  return `The ${number(sensors)} sensors have ${number(points)} points each, as one question has room for no more: short `
    + "peaks are still drawn, their places in time are less exact. Zoom in, or choose fewer sensors.";
}

/** Return what to say of ids that are no sensor's, which may stand beside others that are. */
function unknown(sensors, known) {
  const missing = sensors.filter((id) => !known.has(id));
  if (!missing.length) return [];
  const [first] = missing;
  const others = missing.length > 1 ? ` (and ${number(missing.length - 1)} more of those chosen)` : "";
  return [element("p", { class: "nothing", role: "status" }, `No sensor is called ${first}${others}; choose one that is suggested, or `,
    element("a", { href: link("sensors", { match: first }) }, "look for it in the list"), ".")];
}

/** Return what to say where nothing is drawn of sensors that there are, or by patterns that choose none. */
function empty(series, known, { matches }) {
  if (series.some((each) => each.values.some((value) => value !== null)) || (!known.size && !matches.length)) return [];
  const why = known.size ? "There is no reading in this range. " : "No sensor of this name has sent anything. ";
  return [element("p", { class: "nothing", role: "status" }, why,
    element("a", { href: "#sensors" }, "The list of sensors"), " tells when each one was heard last.")];
}

/** Return what the answer was made of: rollups or rows, and how many points are drawn. */
function sourceOf(meta, { aggregates }, series) {
  const format = (at) => new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short", timeZone: meta.tz }).format(at);
  const parts = meta.source.map((part) => `${part.from} ${format(part.start)} – ${format(part.end)}`);
  // Every bucket has a value of each aggregate.
  const points = number(series.reduce((sum, each) => sum + each.values.length, 0) / Math.max(aggregates.length, 1));
  const kind = aggregates.length ? `buckets of ${meta.bucket}` : "readings, the first, last, least and greatest of each pixel";
  return [element("strong", {}, "Source: "), `${parts.join("; ")}. ${points} ${kind}, as of ${format(meta.as_of)}.`];
}
