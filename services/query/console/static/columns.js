/* Series side by side over one row of instants, as a plot wants them; pure, so that a test can ask it everything. */

const GAP_STEPS = 5;
const GAP_PIXELS = 3;
const EMPTY_STEPS = 1.5;

/**
 * Return series with a null where a line would run over the time in which a sensor was silent; `pixel` is a pixel's
 * milliseconds. Buckets that are empty say so themselves.
 */
export function withGaps(series, pixel) {
  return series.values.includes(null) ? withoutSteps(series) : silences(series, pixel);
}

/**
 * Return series without the empty buckets between two values that are no farther apart than usual.
 *
 * Where buckets are shorter than the step of the readings most are empty, and values would be dots without a line.
 */
function withoutSteps(series) {
  const { times, values } = series;
  const before = [], behind = [];
  for (let place = 0, last = null; place < times.length; place += 1) before[place] = last = values[place] === null ? last : times[place];
  for (let place = times.length - 1, next = null; place >= 0; place -= 1) behind[place] = next = values[place] === null ? next : times[place];
  const longest = EMPTY_STEPS * usual(times.filter((_, place) => values[place] !== null));
  const kept = times.map((_, place) => values[place] !== null || before[place] === null || behind[place] === null
    || behind[place] - before[place] > longest);
  return { ...series, times: times.filter((_, place) => kept[place]), values: values.filter((_, place) => kept[place]) };
}

/** Return the usual step between instants, which is their middle one. */
function usual(times) {
  const steps = times.slice(1).map((time, place) => time - times[place]).sort((a, b) => a - b);
  return steps[steps.length >> 1];
}

/** Return series with a null where no reading came for more than five usual steps, and for more than three pixels. */
function silences(series, pixel) {
  const { times, values } = series;
  if (times.length < 3) return series;
  const longest = Math.max(GAP_STEPS * usual(times), GAP_PIXELS * pixel);
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
