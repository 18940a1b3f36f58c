/* Which sensors there are, what each said last and how long ago. Rows are made only where they are seen. */

import { AGAIN, later, tell as told } from "./again.js";
import { address, json, limits } from "./api.js";
import { element, labelled, number, say, settled } from "./dom.js";
import { facets } from "./facets.js";
import { narrowed } from "./matching.js";
import { AFRESH, rows } from "./rows.js";
import { go, link } from "./state.js";

const EXAMPLE = '[{"sensor_id":"sensor-1","timestamp":"2025-10-22T21:00:00Z","value":25.3}]';

/** Show the view in `main`; `update` follows the address. */
export function sensors(main) {
  let stop = new AbortController();
  let forget = () => {};
  const search = element("input", { type: "search", id: "search", placeholder: "text, boiler-*, temperature{site=\"north\"}",
    autocomplete: "off", spellcheck: "false", oninput: settled(() => changed({}), 300) });
  const silent = element("input", { type: "checkbox", id: "silent", onchange: () => changed({}) });
  const labels = facets((chosen) => changed({ chosen }));
  const count = element("p", { class: "count", id: "count", role: "status" });
  const together = element("p", { class: "together", id: "together" });
  let match = "*";
  const problem = element("div", {});
  const stale = element("div", {});
  const list = rows({
    failed: (error) => told(stale, error, AFRESH),
    answered: () => stale.replaceChildren(),
    changed: offer,
  });
  main.replaceChildren(
    element("form", { class: "panel", role: "search", "aria-label": "Sensors", onsubmit: (event) => { event.preventDefault(); changed({}); } },
      element("div", { class: "line" }, labelled("Search", search), labels.node,
        element("label", { class: "check" }, silent, " silent ones first"))),
    element("div", { class: "line" }, count, together), problem, stale, list.node);

  function changed({ chosen = labels.chosen() }) {
    go(link("sensors", { match: search.value.trim(), label: chosen.map(written), order: silent.checked ? "silent" : "" }), { replace: true });
  }

  /** Load all ids, page by page or the silent ones first; each row asks for the rest when it is seen. */
  async function load(order, signal) {
    list.clear();
    try {
      if (order === "silent") {
        const { data } = await json("latest", { match, epoch: "ms" }, { signal });
        data.sort((one, other) => one.timestamp - other.timestamp);
        list.add(data.map(({ sensor_id, timestamp, value }) => ({ sensor_id, latest: { timestamp, value } })));
        tell(false);
        return;
      }
      const { page: limit } = await limits();
      let page;
      for (let after = ""; after !== undefined; after = page.next) {
        page = await json("sensors", { match, limit, after }, { signal });
        list.add(page.data);
        tell(Boolean(page.next));
      }
    } catch (error) {
      if (error.name === "AbortError") return;
      count.textContent = "";
      told(problem, error, error.passes ? AGAIN : null);
      if (error.passes) forget = later(() => load(order, signal), AGAIN);
    }
  }

  function tell(more) {
    labels.load();
    offer();
    const found = list.count();
    count.textContent = `${number(found)}${more ? "+" : ""} ${found === 1 ? "sensor" : "sensors"}`;
    problem.replaceChildren(...(found || match !== "*" ? [] : [teaching()]));
  }

  /** Offer one plot of the sensors that are picked, or of all that a search has found. */
  function offer() {
    const plot = (given, text) => element("a", { href: link("explore", { ...given, start: "-24h" }) }, text);
    const picked = list.picked();
    if (picked.length) {
      together.replaceChildren(plot({ sensor_id: picked }, `Plot the ${number(picked.length)} picked ${picked.length === 1 ? "one" : "together"}`),
        " ", element("button", { type: "button", onclick: () => list.unpick() }, "Pick none"));
    } else together.replaceChildren(...(match !== "*" && list.count() > 1 ? [plot({ match }, "Plot all of these together")] : []));
  }

  return {
    close() {
      stop.abort();
      forget();
      list.close();
    },
    update(given) {
      stop.abort();
      forget();
      stop = new AbortController();
      if (document.activeElement !== search) search.value = given.get("match") ?? "";
      silent.checked = given.get("order") === "silent";
      const chosen = given.getAll("label").map(read);
      labels.show(chosen);
      count.textContent = "Looking…";
      match = narrowed(given.get("match") ?? "", chosen);
      load(given.get("order"), stop.signal);
      offer();
    },
  };
}

/** Return a label and its value as the address holds them, and read them from it. */
function written([label, value]) {
  return `${encodeURIComponent(label)}=${value}`;
}

function read(text) {
  const place = text.indexOf("=");
  return [decodeURIComponent(text.slice(0, place)), text.slice(place + 1)];
}

/** Return what helps where nothing has been sent yet. */
function teaching() {
  const command = `curl http://${address("").hostname}:8000/ingest --header 'Content-Type: application/json' --data '${EXAMPLE}'`;
  return element("div", { class: "teach" }, element("h2", {}, "No sensor has sent anything yet"),
    element("p", {}, "Send a first reading to ingest; it stands here within a second:"), element("pre", {}, command),
    element("p", {}, "Ingest listens on port 8000 of this host unless it was installed elsewhere. ",
      element("a", { href: "#sensors", onclick: () => { say("Looking again"); dispatchEvent(new Event("hashchange")); } }, "Look again")));
}
