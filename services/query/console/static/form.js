/* The explorer's form: what is asked for, as fields. Whoever changes one is told of, and the address changes. */

import { Problem, json } from "./api.js";
import { isSensor, spoken } from "./catalogue.js";
import { element, labelled, select, settled } from "./dom.js";
import { isPattern, matching } from "./matching.js";
import { AGGREGATES, BUCKETS, absolute, roughly, wall } from "./question.js";

const RANGES = [["-15m", "last 15 minutes"], ["-1h", "last hour"], ["-6h", "last 6 hours"], ["-24h", "last 24 hours"],
  ["-7d", "last 7 days"], ["-30d", "last 30 days"], ["-1y", "last year"], ["", "own range"]];
const FILLS = [["null", "shown as gaps"], ["none", "left out"], ["previous", "previous value"], ["linear", "on a line"], ["0", "zero"]];
const SUGGESTED = 20;

/** What the form calls parameters of the question. */
const CAPTIONS = { sensor_id: "Sensors", match: "Sensors", start: "From", end: "Up to", tz: "Time zone", agg: "Show",
  bucket: "Bucket", fill: "Empty buckets", by: "Together by" };

/** Screens on which all but the sensors is folded; the stylesheet has the same. */
const SMALL = "(max-width: 640px)";

/** Return an error whose message calls parameters as the form does. */
export function captioned(error) {
  if (!error.parameters?.length) return error;
  const detail = error.parameters.map(({ parameter, message }) => `${CAPTIONS[parameter] ?? parameter}: ${message}`).join("; ");
  return new Problem(error.status, { ...error, detail }, error.request);
}

/**
 * Return `{ node, show, call, close }`: the form, what sets its fields by a state, what calls its sensors as the catalogue
 * does, and what ends it. `changed` gets what a person changed.
 */
export function form(changed) {
  let state = null;
  let known = new Map();
  let unknown = new Set();
  const chips = element("ul", { class: "chips", "aria-label": "Chosen sensors" });
  const suggestions = element("datalist", { id: "suggestions" });
  const add = element("input", { id: "add", list: "suggestions", autocomplete: "off", spellcheck: "false",
    placeholder: "add: sensor-1, boiler-*, temperature{site=\"north\"}", oninput: settled(suggest), onchange: added });
  const range = select("range", RANGES, () => (range.value ? changed({ start: range.value, end: "", live: state.live }) : own()));
  const start = text("start", "-6h or 2026-01-31 12:00", () => changed({ start: start.value.trim() || "-6h" }));
  const end = text("end", "now", () => changed({ end: end.value.trim(), live: false }));
  const aggregates = element("fieldset", { class: "aggregates" }, element("legend", {}, CAPTIONS.agg),
    element("label", {}, element("input", { type: "checkbox", value: "", onchange: () => changed({ aggregates: [] }) }), " readings"),
    AGGREGATES.map((name) => element("label", {}, element("input", { type: "checkbox", value: name, onchange: chosen }), ` ${name}`)));
  const bucket = select("bucket", [["auto", "by the width"], ...BUCKETS.map(([name]) => [name, name])], () => changed({ bucket: bucket.value }));
  const zones = [...new Set(["UTC", Intl.DateTimeFormat().resolvedOptions().timeZone, ...Intl.supportedValuesOf("timeZone")])];
  const zone = select("zone", zones.filter(Boolean).map((name) => [name, name]), () => changed({ zone: zone.value }));
  const fill = select("fill", FILLS, () => changed({ fill: fill.value }));
  const by = text("by", "each sensor", () => changed({ by: by.value.trim() }));
  const summary = element("summary", {});
  const compare = element("input", { type: "checkbox", id: "compare", onchange: () => changed({ compare: compare.checked }) });
  const live = element("input", { type: "checkbox", id: "live", onchange: () => changed(live.checked ? { live: true, end: "", ...relative() } : { live: false }) });
  const folded = element("summary", {});
  const rest = element("details", { class: "rest", id: "rest", open: true }, folded,
    element("div", { class: "line" }, labelled("Range", range), labelled(CAPTIONS.start, start), picker("start"),
      labelled(CAPTIONS.end, end), picker("end"), labelled(CAPTIONS.tz, zone),
      element("label", { class: "check" }, live, " live"), element("label", { class: "check" }, compare, " period before")),
    element("details", { id: "buckets" }, summary, element("div", { class: "line" }, aggregates),
      element("div", { class: "line" }, labelled(CAPTIONS.bucket, bucket), labelled(CAPTIONS.fill, fill), labelled(CAPTIONS.by, by))));
  const node = element("form", { class: "panel", "aria-label": "Question", onsubmit: (event) => { event.preventDefault(); added(); } },
    element("div", { class: "line" }, labelled(CAPTIONS.match, add), suggestions, chips), rest);
  const small = matchMedia(SMALL);
  const fold = () => { rest.open = !small.matches; };
  small.addEventListener("change", fold);
  fold();

  function text(id, placeholder, onchange) {
    return element("input", { id, placeholder, onchange, autocomplete: "off", spellcheck: "false" });
  }

  /** Return a button that opens the browser's own calendar for an end of the range, with clocks of the plot's zone. */
  function picker(bound) {
    const calendar = element("input", { type: "datetime-local", class: "calendar", tabindex: "-1", "aria-hidden": "true",
      onchange: () => calendar.value && changed({ [bound]: calendar.value.replace("T", " "), live: false }) });
    const open = () => {
      const at = roughly(absolute(state[bound], state.zone), Date.now());
      calendar.value = at === null ? "" : wall(at, state.zone);
      calendar.showPicker();
    };
    return element("span", { class: "picker" }, calendar,
      element("button", { type: "button", "aria-label": `Calendar for the ${bound}`, title: "Calendar", onclick: open }, "▦"));
  }

  function own() {
    start.focus();
    start.select();
  }

  /** A live plot follows now, so its range has to begin relative to it. */
  function relative() {
    return /^(now)?-/.test(state.start) ? {} : { start: "-15m" };
  }

  function chosen() {
    const names = [...aggregates.querySelectorAll("input:checked")].map((box) => box.value).filter(Boolean);
    const others = state.aggregates.filter((name) => !AGGREGATES.includes(name));
    changed({ aggregates: [...names, ...others] });
  }

  async function suggest() {
    const typed = add.value.trim();
    if (!typed) return;
    // While somebody types a selector it is none yet.
    const page = await json("sensors", { match: matching(typed), limit: SUGGESTED }).catch(() => ({ data: [] }));
    suggestions.replaceChildren(...page.data.map((sensor) => element("option",
      { value: sensor.sensor_id, label: sensor.labels ? spoken(sensor) : null })));
  }

  async function added() {
    const typed = add.value.trim();
    if (!typed) return;
    add.value = "";
    const list = isPattern(typed) && !(await isSensor(typed)) ? "matches" : "sensors";
    if (!state[list].includes(typed)) changed({ [list]: [...state[list], typed] });
  }

  function chip(list, name) {
    const others = { [list]: state[list].filter((each) => each !== name) };
    // What is meant by such a text the catalogue may tell, and a person does.
    const [other, kind] = list === "sensors" ? ["matches", "pattern"] : ["sensors", "id"];
    const called = list === "sensors" ? known.get(name)?.name ?? name : name;
    const missing = list === "sensors" && unknown.has(name);
    return element("li", { class: missing ? "missing" : null },
      element("code", { title: missing ? `No sensor is called ${name}` : name }, called),
      isPattern(name) ? element("button", { type: "button", class: "meant", "aria-label": `Take ${name} as ${kind}`,
        onclick: () => changed({ ...others, [other]: [...new Set([...state[other], name])] }) }, `as ${kind}`) : null,
      element("button", { type: "button", "aria-label": `Remove ${called}`, onclick: () => changed(others) }, "×"));
  }

  function showChips() {
    chips.replaceChildren(...state.sensors.map((name) => chip("sensors", name)), ...state.matches.map((name) => chip("matches", name)));
  }

  /** Call the chosen sensors as the catalogue does, by a map of what it says of each id. */
  function call(now) {
    // A live plot asks often: chips that stay the same keep the focus.
    const told = () => JSON.stringify(state.sensors.map((id) => [known.get(id)?.name ?? id, unknown.has(id)]));
    const before = told();
    [known, unknown] = [now, new Set(state.sensors.filter((id) => !now.has(id)))];
    if (told() !== before) showChips();
  }

  /** Set the fields. */
  function show(now) {
    state = now;
    showChips();
    range.value = now.end === "" && RANGES.some(([value]) => value === now.start) ? now.start : "";
    [start.value, end.value, by.value] = [now.start, now.end, now.by];
    for (const box of aggregates.querySelectorAll("input")) {
      box.checked = box.value ? now.aggregates.includes(box.value) : !now.aggregates.length;
    }
    for (const [field, value] of [[bucket, now.bucket], [zone, now.zone], [fill, now.fill]]) {
      if (![...field.options].some((option) => option.value === value)) field.append(element("option", { value }, value));
      field.value = value;
    }
    [compare.checked, live.checked] = [now.compare, now.live];
    summary.textContent = now.aggregates.length
      ? `Shows ${now.aggregates.join(", ")} in buckets ${now.bucket === "auto" ? "by the width" : `of ${now.bucket}`}` : "Shows readings; choose aggregates";
    const last = RANGES.find(([value]) => value && value === range.value)?.[1] ?? `${now.start} up to ${now.end || "now"}`;
    folded.textContent = `${last}, ${now.zone}${now.live ? ", live" : ""}, ${now.aggregates.join(", ") || "readings"}`;
    for (const field of [bucket, fill, by]) field.disabled = !now.aggregates.length;
  }

  return { node, show, call, close: () => small.removeEventListener("change", fold) };
}
