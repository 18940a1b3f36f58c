/* Series side by side over one row of instants, as a plot wants them; pure, so that a test can ask it everything. */

const GAP_STEPS = 5;
const GAP_PIXELS = 3;

/**
 * Return series with a null where no reading came for more than five usual steps, and for more than three pixels.
 *
 * Without it a line would run over the time in which a sensor was silent. `pixel` is a pixel's milliseconds.
 */
export function withGaps(series, pixel) {
  const { times, values } = series;
  if (times.length < 3) return series;
  const steps = times.slice(1).map((time, place) => time - times[place]).sort((a, b) => a - b);
  const longest = Math.max(GAP_STEPS * steps[steps.length >> 1], GAP_PIXELS * pixel);
  if (steps.at(-1) <= longest) return series;
  const [broken, numbers] = [[times[0]], [values[0]]];
  for (let place = 1; place < times.length; place += 1) {
    if (times[place] - times[place - 1] > longest) {
      broken.push((times[place] + times[place - 1]) / 2);
      numbers.push(null);
    }
    broken.push(times[place]);
    numbers.push(values[place]);
  }
  return { ...series, times: broken, values: numbers };
}

/**
 * Return `[times, values…]`, one list of values a series; undefined where a series has none at an instant, and null
 * where it is silent, between the values around a null of its own.
 *
 * Readings of one sensor at one instant are all kept: the instant then stands as often.
 */
export function aligned(series) {
  const places = series.map(() => 0);
  const table = [[], ...series.map(() => [])];
  for (;;) {
    let next = Infinity;
    series.forEach((each, which) => {
      const time = each.times[places[which]];
      if (time < next) next = time;
    });
    if (next === Infinity) return [table[0], ...table.slice(1).map(silent)];
    table[0].push(next);
    series.forEach((each, which) => {
      const here = each.times[places[which]] === next;
      table[which + 1].push(here ? each.values[places[which]] : undefined);
      if (here) places[which] += 1;
    });
  }
}

/** Return values in which a null reaches to the values around it: a plot breaks a line between two instants alone. */
function silent(values) {
  const spread = values.slice();
  values.forEach((value, place) => {
    if (value !== null) return;
    for (let left = place - 1; left >= 0 && spread[left] === undefined; left -= 1) spread[left] = null;
    for (let right = place + 1; right < spread.length && spread[right] === undefined; right += 1) spread[right] = null;
  });
  return spread;
}

/** Return the place of the value of a list that is nearest to a place; null where the list has none. */
export function nearest(values, place) {
  for (let far = 0; far < values.length; far += 1) {
    for (const candidate of [place - far, place + far]) {
      if (values[candidate] !== null && values[candidate] !== undefined) return candidate;
    }
    if (place - far < 0 && place + far >= values.length) return null;
  }
  return null;
}
