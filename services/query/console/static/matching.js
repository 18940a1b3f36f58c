/* From what a person types, and the labels that are chosen beside it, to `match`. Nothing here knows the page. */

/** Return `match` for a text alone: a selector or a glob as it stands, any other text anywhere in an id. */
export function matching(text) {
  const typed = text.trim();
  if (!typed) return "*";
  return isPattern(typed) ? typed : `*${escaped(typed)}*`;
}

/**
 * Return `match` for a text and pairs of a label and its value, all of which shall hold.
 */
export function narrowed(text, labels) {
  if (!labels.length) return matching(text);
  const conditions = labels.map(([label, value]) => `${JSON.stringify(label)}=${JSON.stringify(value)}`);
  const typed = text.trim();
  const selector = /^([^{]*)\{(.*)\}$/s.exec(typed);
  if (selector) return `${selector[1]}{${[selector[2].trim(), ...conditions].filter(Boolean).join(",")}}`;
  if (typed) conditions.unshift(`__sensor_id__=~${JSON.stringify(expression(typed))}`);
  return `{${conditions.join(",")}}`;
}

/** Tell whether a text is a glob or a selector, unless it is meant as an id. */
export function isPattern(text) {
  return /[{*?]/.test(text);
}

/** Return the glob that means this id and no other. */
export function escaped(id) {
  return id.replace(/[\\*?{]/g, "\\$&");
}

/** Return the regular expression of a glob, or of a text that stands anywhere. */
function expression(typed) {
  const quoted = (text) => text.replace(/[\\^$.|?*+()[\]{}]/g, "\\$&");
  if (!/[*?]/.test(typed)) return `.*${quoted(typed)}.*`;
  return typed.replace(/\\(.)|([*?])|[^\\*?]+/g, (all, taken, wild) => (wild ? { "*": ".*", "?": "." }[wild] : quoted(taken ?? all)));
}
