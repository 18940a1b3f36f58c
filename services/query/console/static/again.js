/* What is asked again by itself, while somebody looks at the page. */

import { errorBox } from "./dom.js";

/** Milliseconds until that is asked again which failed as something is away. */
export const AGAIN = 3000;

/** Call `act` in some milliseconds, or once the page is seen behind them; return what takes that back. */
export function later(act, pause) {
  let timer = setTimeout(due, pause);
  function due() {
    if (document.hidden) timer = setTimeout(due, pause);
    else act();
  }
  return () => clearTimeout(timer);
}

/**
 * Show in `holder` what a question ended by, and that it is asked again every `pause` milliseconds, if that is a number.
 *
 * What stands there already is left alone: a screen reader would say it again each time.
 */
export function tell(holder, error, pause = null) {
  const again = pause === null ? "" : `It is asked again every ${pause / 1000} s, by itself.`;
  const told = [error.title, error.message, again].join("\n");
  if (holder.dataset.told === told && holder.hasChildNodes()) return;
  holder.dataset.told = told;
  holder.replaceChildren(errorBox(error, again));
}
