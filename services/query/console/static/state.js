/* The address is the state: `#view?name=value`, so that back, forward, a bookmark and a link show the same. */

/** Return the view and the parameters of the address. */
export function current() {
  const [view, query = ""] = location.hash.slice(1).split("?");
  return { view: view || "sensors", given: new URLSearchParams(query) };
}

/** Return parameters as an address has them; a list gives a name several times, what is empty is left out. */
export function query(parameters) {
  const found = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    for (const each of [value].flat()) if (each !== "" && each !== null && each !== undefined) found.append(name, each);
  }
  return found;
}

/** Return the address of a view with parameters. */
export function link(view, parameters = {}) {
  const text = query(parameters).toString();
  return `#${view}${text ? `?${text}` : ""}`;
}

/** Go to an address; `replace` leaves no step to come back to. */
export function go(address, { replace = false } = {}) {
  if (address === location.hash) return;
  history[replace ? "replaceState" : "pushState"](null, "", address);
  dispatchEvent(new Event("hashchange"));
}
