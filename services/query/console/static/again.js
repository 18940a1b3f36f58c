/* What is asked again by itself, while somebody looks at the page. */

import { called, errorBox } from "./dom.js";

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
 * What stands there already is left alone, but for the request: a screen reader would say it again each time. What is not
 * asked again by itself somebody asked anew, and is told.
 */
export function tell(holder, error, pause = null) {
  const again = pause === null ? "" : `It is asked again every ${pause / 1000} s, by itself.`;
  const told = [error.title, error.message, again].join("\n");
  const facts = holder.querySelector(".error small");
  if (pause !== null && holder.dataset.told === told && facts) {
    facts.textContent = called(error);
    return;
  }
  holder.dataset.told = told;
  holder.replaceChildren(errorBox(error, again));
}
