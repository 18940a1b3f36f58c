/* How the store is: what waits, what is late, what failed, and how far everything is. */

import { later, tell } from "./again.js";
import { json } from "./api.js";
import { letters } from "./letters.js";
import { age, bytes, element, instant, number, renewed, sideways } from "./dom.js";

const AFRESH = 5000;
const NEAR = 0.8;

/** Show the view in `main`. */
export function health(main) {
  const stop = new AbortController();
  let forget = () => {};
  const asOf = element("p", { class: "count", id: "as-of", role: "status" });
  const problem = element("div", {});
  const parts = element("div", { class: "cards" });
  const dead = letters(stop.signal);
  main.replaceChildren(asOf, problem, parts, dead.node);

  async function load() {
    try {
      const status = await json("status", {}, { signal: stop.signal });
      renewed(parts, cards(status));
      asOf.textContent = `As of ${instant(Date.parse(status.as_of))} · Millrace ${status.version}`;
      problem.replaceChildren();
      dead.show(status);
    } catch (error) {
      if (error.name === "AbortError") return;
      asOf.textContent = "";
      parts.replaceChildren();
      tell(problem, error, AFRESH);
      dead.lost(error.message);
    }
    forget = later(load, AFRESH);
  }

  return {
    update: () => { forget(); load(); },
    close() {
      stop.abort();
      forget();
    },
  };
}

function cards(status) {
  return [
    card("Stream", status.stream, (stream) => facts([
      ["Rows in", rate(stream.rows_in_per_second)], ["Rows out", rate(stream.rows_out_per_second)],
      ["Backlog", `${number(stream.rows)} rows, ${bytes(stream.bytes)}`],
      ["Oldest entry", stream.entries ? age(stream.age) : "none waits"], ["Workers", number(stream.workers)],
    ])),
    card("Late readings", status.late_ranges, (late) => facts([
      ["Ranges to repair", number(late.count)], ["Oldest", late.count ? age(late.oldest_age) : "none"],
    ])),
    card("Ledger", status.ledger, (ledger) => facts([
      ["Batches", `about ${number(ledger.estimated_rows)}`], ["Oldest", when(ledger.estimated_oldest)],
      ["Remembered for", age(ledger.horizon)], ["Size", bytes(ledger.bytes)],
    ]), status.sizes_as_of),
    card("Database", status.database, (database) => facts([
      ["PostgreSQL", database.postgresql], ["TimescaleDB", database.timescaledb ?? "none: plain mode"],
      ["Lacking", database.missing.join(", ") || "nothing"],
    ])),
    card("Aggregates", status.aggregates, (aggregates) => table(
      ["Aggregate", "Watermark", "Behind", "Last run", "Result", "Next run", "Runs every"],
      aggregates.map((each) => [each.name, when(each.watermark), length(each.behind), when(each.last_run), each.last_status ?? "–",
        when(each.next_run), length(each.schedule_interval)]),
      "no aggregate is kept")),
    card("Tables", status.tables, (tables) => table(
      ["Table", "Size", "Chunks", "In the columnstore", "Compressed", "Kept for"],
      tables.map((each) => [each.name, bytes(each.bytes), number(each.chunks), number(each.columnstore_chunks),
        compressed(each), each.retention === null ? "ever" : age(each.retention)]), "none"), status.sizes_as_of),
    card("Callers", status.callers, (callers) => table(
      ["Caller", "Rows a second", "Requests a second", "Fullest process"],
      callers.map((each) => [each.name, used(each.rows_per_second, each.rows_limit), used(each.requests_per_second, each.requests_limit),
        near(each.used)]),
      "no caller has a limit")),
  ];
}

/** Return the card of a part; `asOf` is the instant of one that may be older than the answer. */
function card(title, part, made, asOf = null) {
  const content = part?.problem ? element("p", { class: "problem" }, part.problem)
    : part ? made(part) : element("p", {}, "not known here");
  return element("section", { class: Array.isArray(part) ? "card wide" : "card", id: `card-${title.toLowerCase().replace(" ", "-")}` },
    element("h2", {}, title), content,
    asOf && !part?.problem ? element("p", { class: "of" }, `As of ${when(asOf)}`) : null);
}

function facts(pairs) {
  return element("dl", {}, pairs.flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]));
}

function table(names, rows, none) {
  if (!rows.length) return element("p", {}, none);
  return sideways(names[0], element("table", {},
    element("thead", {}, element("tr", {}, names.map((name) => element("th", { scope: "col" }, name)))),
    element("tbody", {}, rows.map(([first, ...others]) => element("tr", {}, element("th", { scope: "row" }, first),
      others.map((value) => element("td", {}, value)))))));
}

function rate(value) {
  return value === null || value === undefined ? "–" : `${number(Math.round(value * 10) / 10)} a second`;
}

function when(text) {
  return text ? instant(Date.parse(text)) : "–";
}

function length(seconds) {
  return seconds === null ? "–" : age(seconds);
}

function compressed({ bytes_before_compression: before, bytes_after_compression: after }) {
  return before && after ? `${bytes(before)} to ${bytes(after)}` : "–";
}

function used(value, limit) {
  return limit === null ? "no limit" : `${number(value)} of ${number(limit)}`;
}

function near(share) {
  const text = `${Math.round(100 * share)} %`;
  return share >= NEAR ? element("strong", { class: "near" }, `${text}, near its limit`) : text;
}
