/* Taking an answer along: as a file in each format, or its question as text for other tools. */

import { ask } from "./api.js";
import { element, errorBox, say } from "./dom.js";
import { RECIPES } from "./recipes.js";

const ENDINGS = { csv: "csv", json: "json", ndjson: "ndjson", arrow: "arrows", parquet: "parquet" };
const TITLES = { curl: "curl", pandas: "pandas", polars: "polars", duckdb: "DuckDB", sql: "SQL", grafana: "Grafana" };

/** Return a menu that downloads the answer to `asked()`, all of its readings, in each format. */
export function downloads(asked) {
  return menu("Download", ENDINGS, async (format) => {
    say(`Downloading ${format}…`);
    try {
      // A link could not carry the key.
      const blob = await (await ask("series", { ...asked(), format })).blob();
      const url = URL.createObjectURL(blob);
      element("a", { href: url, download: `readings.${ENDINGS[format]}` }).click();
      setTimeout(() => URL.revokeObjectURL(url), 60_000);
      say(`Downloaded ${format}`);
    } catch (error) {
      shown("The download failed", errorBox(error));
    }
  });
}

/** Return a menu that shows the question of `asked()` as text for other tools, to be copied. */
export function recipes(asked) {
  return menu("Copy as", TITLES, (name) => {
    const text = RECIPES[name](asked());
    const area = element("textarea", { readonly: true, rows: String(Math.min(text.split("\n").length + 1, 16)),
      "aria-label": `The question as ${TITLES[name]}`, id: "recipe" });
    area.value = text;
    // Focus scrolls to the cursor, which setting the text left at its end.
    area.setSelectionRange(0, 0);
    shown(`The question as ${TITLES[name]}`, area, element("button", { type: "button", class: "primary", onclick: () => copy(area) }, "Copy"));
  });
}

async function copy(area) {
  area.select();
  // Browsers have a clipboard at https and on this machine alone; elsewhere the old command does it.
  try {
    await navigator.clipboard.writeText(area.value);
    say("Copied");
  } catch {
    say(document.execCommand("copy") ? "Copied" : "Press Ctrl and C to copy what is selected");
  }
}

function menu(title, choices, chosen) {
  const list = element("select", { "aria-label": title, onchange: () => {
    const name = list.value;
    list.value = "";
    if (name) chosen(name);
  } }, element("option", { value: "" }, `${title}…`),
  Object.entries(choices).map(([name, text]) => element("option", { value: name }, text)));
  return list;
}

function shown(title, ...children) {
  const close = () => dialog.close();
  const dialog = element("dialog", { "aria-label": title, onclose: () => { removeEventListener("hashchange", close); dialog.remove(); } },
    element("h2", {}, title), children,
    element("form", { method: "dialog" }, element("menu", {}, element("button", {}, "Close"))));
  // What it tells is of the address that it was opened at.
  addEventListener("hashchange", close);
  document.body.append(dialog);
  dialog.showModal();
}
