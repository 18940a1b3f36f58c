/* What the plot shows, in words: the reading under the cursor of each series, and all points as a table. */

import { color, strokeOf } from "./chart.js";
import { element, instant, number, settled } from "./dom.js";

const MOST_ROWS = 1000;

/** Return `{ legend, table, points, show, at }`: three elements, and what fills them from what the plot shows. */
export function readout() {
  const legend = element("ul", { class: "legend", id: "legend", tabindex: "0", "aria-label": "Series" });
  const body = element("tbody", {});
  const table = element("table", { class: "readout", id: "readout" },
    element("caption", {}, "The reading under the cursor; the newest one where there is none"),
    element("thead", {}, element("tr", {}, ["Series", "Value", "Unit", "When"]
      .map((name) => element("th", { scope: "col", class: name === "Value" ? "number" : null }, name)))),
    body);
  const list = element("div", { class: "scroller small", tabindex: "0", role: "region", "aria-label": "Points" });
  const points = element("details", { id: "points", ontoggle: () => fill() }, element("summary", {}, "All points as a table"), list);
  const said = element("p", { class: "unseen", "aria-live": "polite", id: "read" });
  points.append(said);
  let last = null;
  const tell = settled((text) => { said.textContent = text; }, 300);

  /** Fill the tables anew from series and their table of values. */
  function show(shown, zone) {
    last = { shown, zone };
    // One is told from no other, and the form has its id.
    const alone = shown.series.length === 1 && shown.series[0].name === shown.series[0].sensor;
    legend.replaceChildren(...(alone ? [] : shown.series)
      .map((each) => element("li", {}, swatch(each), each.name || "all")));
    at(shown, null, zone);
    fill();
  }

  /** Show each series' value at a place of the table, or its newest. */
  function at({ series, table: values }, places, zone) {
    const read = series.map((each, which) => {
      const place = places ? places[which] : newest(values[which + 1]);
      return place === null || place === undefined ? null : { value: values[which + 1][place], time: values[0][place] - (each.moved ?? 0) };
    });
    body.replaceChildren(...series.map((each, which) => row(each, read[which], zone)));
    if (places && series.length) tell(read.map((found, which) => (found
      ? `${series[which].name}: ${number(found.value)} ${series[which].unit} at ${instant(found.time, zone)}` : "")).join("; "));
  }

  function row(each, found, zone) {
    return element("tr", {}, element("th", { scope: "row" }, swatch(each), each.name || "all"),
      element("td", { class: "number" }, number(found?.value)), element("td", {}, each.unit),
      element("td", {}, found ? instant(found.time, zone) : "–"));
  }

  function fill() {
    if (!points.open || !last) return;
    const { shown: { series, table: values }, zone } = last;
    const rows = values[0].slice(0, MOST_ROWS).map((time, place) => element("tr", {}, element("td", {}, instant(time, zone)),
      series.map((_, which) => element("td", { class: "number" }, values[which + 1][place] === undefined ? "" : number(values[which + 1][place])))));
    const more = values[0].length > MOST_ROWS ? `The first ${MOST_ROWS} of ${values[0].length} instants; downloads have all.` : "";
    list.replaceChildren(element("p", {}, more), element("table", {},
      element("thead", {}, element("tr", {}, element("th", { scope: "col" }, "When"),
        series.map((each) => element("th", { scope: "col", class: "number" }, each.name || "all")))),
      element("tbody", {}, rows)));
  }

  return { legend, table, points, show, at };
}

function swatch(each) {
  const line = element("span", { class: `swatch ${strokeOf(each)}`, "aria-hidden": "true" });
  line.style.borderColor = color(each.color);
  return line;
}

function newest(values) {
  for (let place = values.length - 1; place >= 0; place -= 1) {
    if (values[place] !== null && values[place] !== undefined) return place;
  }
  return null;
}
