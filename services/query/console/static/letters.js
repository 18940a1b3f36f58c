/* Dead letters: what could not be stored, and why; who has `admin` replays or deletes them. */

import { ask, json } from "./api.js";
import { bytes, element, errorBox, instant, number, say, sideways } from "./dom.js";

const PAGE = 100;

/**
 * Return `{ node, show, lost }`: the list, with what an administrator may do; what brings it up to a status, and what
 * tells why nothing is known now.
 */
export function letters(signal) {
  let after = null;
  let admin = null;
  let total = null;
  let asOf = null;
  const body = element("tbody", {});
  const count = element("p", { role: "status" });
  const problem = element("div", {});
  const more = element("button", { type: "button", hidden: true, onclick: () => load(after) }, "More");
  const list = element("div", {});
  const table = sideways("Dead letters", list);
  const node = element("section", { class: "card wide", id: "card-dead-letters" }, element("h2", {}, "Dead letters"), count, problem, table, more,
    element("button", { type: "button", onclick: () => load(null) }, "Look again"));

  async function load(from) {
    try {
      const page = await json("dead-letters", { limit: PAGE, after: from }, { signal });
      if (from === null) body.replaceChildren();
      body.append(...page.letters.map(row));
      after = page.next;
      more.hidden = page.next === null;
      count.textContent = page.total ? `${number(page.total)} could not be stored` : "None: everything that was sent could be stored.";
      const columns = ["When", "Reason", "What was wrong", "Rows", "Size", admin ? "Do" : null].filter(Boolean);
      list.replaceChildren(...(page.total ? [element("table", {}, element("thead", {},
        element("tr", {}, columns.map((name) => element("th", { scope: "col" }, name)))), body)] : []));
      [total, asOf] = [page.total, Date.now()];
      problem.replaceChildren();
    } catch (error) {
      if (error.name !== "AbortError") lost(error.message);
    }
  }

  /** Tell that nothing is known now, and why: what stands in the list is of before. */
  function lost(why) {
    const before = total ? ` What stands here is as of ${instant(asOf)}.` : "";
    count.textContent = `Not known now: ${why}${/[.!]$/.test(why) ? "" : "."}${before}`;
    total = null;
    if (!before) list.replaceChildren();
  }

  function row(letter) {
    const button = (text, act) => element("button", { type: "button", onclick: act }, text);
    return element("tr", { "data-letter": letter.letter_id },
      element("th", { scope: "row" }, instant(Number(letter.letter_id.split("-")[0]))), element("td", {}, letter.reason),
      element("td", { class: "detail" }, letter.detail), element("td", { class: "number" }, number(letter.rows)),
      element("td", { class: "number" }, bytes(letter.bytes)),
      admin ? element("td", {}, button("Replay", () => change(letter, "Replayed", `dead-letters/${letter.letter_id}/replay`, "POST")),
        button("Delete", () => {
          if (confirm(`Delete the ${letter.rows} readings of this letter for good?`)) {
            change(letter, "Deleted", `dead-letters/${letter.letter_id}`, "DELETE");
          }
        })) : null);
  }

  async function change(letter, done, path, method) {
    try {
      await ask(path, {}, { signal, method });
      say(done);
      await load(null);
    } catch (error) {
      problem.replaceChildren(errorBox(error));
    }
  }

  /** Load the list where a status tells that there are others, or that the caller may change them. */
  function show({ admin: may, dead_letters: letters }) {
    if (letters.problem) {
      lost(letters.problem);
      return;
    }
    if (may === admin && letters.total === total) return;
    admin = may;
    load(null);
  }

  return { node, show, lost };
}
