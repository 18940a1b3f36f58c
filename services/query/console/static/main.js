/* The views, one at a time, by the address. */

import { element, errorBox, say } from "./dom.js";
import { Problem, login } from "./api.js";
import { current } from "./state.js";
import { sensors } from "./sensors.js";
import { explore } from "./explore.js";
import { health } from "./health.js";

const VIEWS = { sensors, explore, health };
let shown = null;

/** Show the view of the address: a view that is shown already is told of its new parameters. */
async function show() {
  const { view, given } = current();
  if (shown?.name === view) {
    shown.update(given);
    return;
  }
  shown?.close();
  const main = document.getElementById("main");
  for (const each of document.querySelectorAll("nav a[data-view]")) {
    if (each.dataset.view === view) each.setAttribute("aria-current", "page");
    else each.removeAttribute("aria-current");
  }
  document.title = `${view[0].toUpperCase()}${view.slice(1)} – Millrace`;
  if (!Object.hasOwn(VIEWS, view)) {
    shown = { name: view, update: () => {}, close: () => {} };
    main.replaceChildren(errorBox(new Problem(404, { title: "Nothing is here", detail: `There is no view ${view}.` })), element("a", { href: "#sensors" }, "Sensors"));
    return;
  }
  shown = { name: view, ...VIEWS[view](main) };
  shown.update(given);
}

document.getElementById("key-button").addEventListener("click", () => {
  login().then(() => { say("The key is used from now on."); shown?.update(current().given); }, () => {});
});
addEventListener("hashchange", show);
show();
