/* The address is the state: `#view?name=value`, so that back, forward, a bookmark and a link show the same. */

/** Return the view and the parameters of the address. */
export function current() {
  const [view, query = ""] = location.hash.slice(1).split("?");
  return { view: view || "sensors", given: new URLSearchParams(query) };
}

/** Return the address of a view with parameters; a list gives a name several times, what is empty is left out. */
export function link(view, parameters = {}) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    for (const each of [value].flat()) if (each !== "" && each !== null && each !== undefined) query.append(name, each);
  }
  const text = query.toString();
  return `#${view}${text ? `?${text}` : ""}`;
}

/** Go to an address; `replace` leaves no step to come back to. */
export function go(address, { replace = false } = {}) {
  if (address === location.hash) return;
  history[replace ? "replaceState" : "pushState"](null, "", address);
  dispatchEvent(new Event("hashchange"));
}
