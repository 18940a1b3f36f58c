/* What the catalogue says of sensors: their units, and what a person calls them. */

import { json } from "./api.js";
import { escaped } from "./matching.js";

/** As many as fit into an address. */
const AT_ONCE = 20;

/**
 * Return a function that tells what the catalogue says of the sensors that are asked for, as `{ unit, name }` by their ids.
 *
 * It remembers that, unless one of the ids is no sensor's yet.
 */
export function catalogue() {
  let [last, found] = ["", new Map()];
  return async ({ sensors, matches }, most, signal) => {
    const key = JSON.stringify([sensors, matches]);
    if (key === last) return found;
    const known = new Map();
    // One more than may be asked for tells that these are too many.
    const limit = Math.min(most.sensors + 1, most.page);
    // Ids are asked for by themselves: beside a pattern that chooses many they may be beyond the page's end.
    for (const match of [...parts(matches), ...parts(sensors.map(escaped))]) {
      const page = await json("sensors", { match, limit }, { signal });
      for (const sensor of page.data) known.set(sensor.sensor_id, { unit: sensor.unit ?? "", name: spoken(sensor) });
    }
    found = known;
    last = sensors.every((id) => known.has(id)) ? key : "";
    return found;
  };
}

function parts(list) {
  return Array.from({ length: Math.ceil(list.length / AT_ONCE) }, (_, part) => list.slice(part * AT_ONCE, (part + 1) * AT_ONCE));
}

/** Return what a person calls a sensor: its id, or its name, field and labels. */
export function spoken({ sensor_id, name, field, labels }) {
  if (!labels) return sensor_id;
  const pairs = Object.entries(labels).map(([label, value]) => `${label}="${value}"`).join(",");
  return `${name ?? ""}{${pairs}}${field ? ` ${field}` : ""}`;
}

/** Tell whether a sensor of exactly this id is known. */
export async function isSensor(id) {
  const { data } = await json("sensors", { match: escaped(id), limit: 1 }).catch(() => ({ data: [] }));
  return data.length > 0;
}
