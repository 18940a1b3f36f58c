/* Making elements, and saying things to who looks or listens. Text is only ever set as text. */

/** Return an element with attributes and children; `on…` attributes are listeners, null and false are left out. */
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (key in made && typeof value !== "string") made[key] = value;
    else made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return made;
}

/** Say something to a screen reader, and show it for a while. */
export function say(text) {
  const said = document.getElementById("said");
  said.textContent = text;
  clearTimeout(say.timer);
  say.timer = setTimeout(() => { said.textContent = ""; }, 6000);
}

/** Return a function that runs `act` once no call has come for some milliseconds. */
export function settled(act, pause = 200) {
  let timer;
  return (...given) => {
    clearTimeout(timer);
    timer = setTimeout(() => act(...given), pause);
  };
}

/** Return the box that tells of an error in words, what is done about it, and what the service calls it. */
export function errorBox(error, done = "") {
  // What the service did not say is a fault of the page's.
  if (error.status === undefined) console.error(error);
  return element("div", { class: "error", role: "alert" },
    element("strong", {}, error.title ?? "Something went wrong"), element("p", {}, error.message), done ? element("p", {}, done) : null,
    element("small", { "aria-live": "off" }, called(error)));
}

/** Return what the service calls an error, and the request that it ended. */
export function called(error) {
  return [error.code ? `${error.status} ${error.code}` : "", error.request ? `request ${error.request}` : ""].filter(Boolean).join(" · ");
}

/** Return seconds as a short length, such as 12 s, 5 min, 3 h or 2 d. */
export function age(seconds) {
  const size = Math.abs(seconds);
  const sign = seconds < 0 ? "in " : "";
  if (size < 90) return `${sign}${Math.round(size)} s`;
  if (size < 5400) return `${sign}${Math.round(size / 60)} min`;
  if (size < 129600) return `${sign}${Math.round(size / 3600)} h`;
  return `${sign}${Math.round(size / 86400)} d`;
}

const NUMBERS = new Intl.NumberFormat(undefined, { maximumSignificantDigits: 7 });

/** Return a number as a person reads it, by the browser's locale. */
export function number(value) {
  return value === null || value === undefined ? "–" : NUMBERS.format(value);
}

/** Return bytes in the unit that fits. */
export function bytes(value) {
  if (value === null || value === undefined) return "–";
  const power = Math.min(Math.floor(Math.log2(Math.max(value, 1)) / 10), 5);
  const rounded = new Intl.NumberFormat(undefined, { maximumSignificantDigits: 3 }).format(value / 1024 ** power);
  return `${rounded} ${["B", "KiB", "MiB", "GiB", "TiB", "PiB"][power]}`;
}

/** Return milliseconds since 1970 as a date and time of a zone, by the browser's locale. */
export function instant(milliseconds, zone) {
  return new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium", timeZone: zone })
    .format(milliseconds);
}

/** Return a table's region that scrolls sideways, and says so where something stands beyond its right edge. */
export function sideways(label, table) {
  const hint = element("p", { class: "beyond", "aria-hidden": "true", hidden: true }, "More columns to the right: scroll sideways ⟶");
  const look = () => { hint.hidden = region.scrollLeft + region.clientWidth > region.scrollWidth - 2; };
  const region = element("div", { class: "sideways", tabindex: "0", role: "region", "aria-label": label, onscroll: look }, table);
  const size = new ResizeObserver(look);
  size.observe(region);
  size.observe(table);
  return element("div", {}, hint, region);
}

/** Put children into `node`, and leave regions of the same name scrolled sideways, and focused, as they were. */
export function renewed(node, children) {
  const regions = () => [...node.querySelectorAll(".sideways")];
  const before = new Map(regions().map((region) => [region.ariaLabel, region.scrollLeft]));
  const focused = document.activeElement;
  node.replaceChildren(...children);
  for (const region of regions()) {
    region.scrollLeft = before.get(region.ariaLabel) ?? 0;
    if (focused.ariaLabel === region.ariaLabel && !focused.isConnected) region.focus({ preventScroll: true });
  }
}

/** Return a label around a control. */
export function labelled(text, control) {
  return element("label", {}, element("span", {}, text), control);
}

/** Return a select of pairs of a value and its text. */
export function select(id, choices, onchange) {
  return element("select", { id, onchange },
    choices.map(([value, text]) => element("option", { value }, text)));
}
