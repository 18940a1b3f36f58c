/* Asking the service. The key is held here, in memory or in the tab's session storage, and goes into a header alone. */

import { query } from "./state.js";

const BASE = new URL("../", location.href.split("#")[0]);
const STORED = "millrace-key";
let key = sessionStorage.getItem(STORED) ?? "";
let waiting = null;
let most = null;

/** An answer that is a problem: `code`, `status` and `title` are the service's own, the message its detail. */
export class Problem extends Error {
  constructor(status, problem, request = "") {
    super(problem.detail ?? `the service answered ${status}`);
    Object.assign(this, { status, code: problem.code, title: problem.title, parameters: problem.parameters ?? [], request });
  }

  /** Whether something is away or busy that comes back by itself; a question that is too dear stays so. */
  get passes() {
    return this.status === 0 || this.status === 429 || (this.status > 501 && this.code !== "query_timeout");
  }
}

/** Return the address of a question, as one writes it in a terminal. */
export function address(path, parameters = {}) {
  const url = new URL(path, BASE);
  url.search = query(parameters);
  return url;
}

/** Tell whether a key is used; questions of a terminal then need one too. */
export function hasKey() {
  return key !== "";
}

/**
 * Return the response to a question; a key is asked for where the service wants one. Rejects with `Problem`.
 *
 * `post` sends the parameters as a body, which has room for many sensors; `method` is for what changes something.
 */
export async function ask(path, parameters, options = {}) {
  for (;;) {
    // The service's log calls the request by the trace that it is part of.
    const request = hex(16);
    const response = await send(path, parameters, { ...options, request });
    if (response.ok) return response;
    const problem = new Problem(response.status, await response.json().catch(() => ({})), request);
    if (response.status !== 401) throw problem;
    await login(problem.code === "wrong_key" ? problem.message : "");
  }
}

async function send(path, parameters, { signal, request, post = false, method = "GET" }) {
  const headers = { traceparent: `00-${request}-${hex(8)}-01`, ...(key ? { Authorization: `Bearer ${key}` } : {}) };
  try {
    if (!post) return await fetch(address(path, parameters), { method, headers, signal });
    headers["Content-Type"] = "application/json";
    return await fetch(address(path), { method: "POST", body: JSON.stringify(parameters), headers, signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, { title: "The service cannot be reached", detail: "The connection to it failed." });
  }
}

function hex(bytes) {
  return Array.from(crypto.getRandomValues(new Uint8Array(bytes)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Return the JSON of an answer. */
export async function json(path, parameters, options) {
  return (await ask(path, parameters, options)).json();
}

/** Return how much one question may ask for: `{ sensors, cells, page }`, the last of them the longest page of a list. */
export function limits() {
  most ??= json("console/limits.json").catch((error) => {
    most = null;
    throw error;
  });
  return most;
}

// A button that sends the form would be what Enter means.
document.getElementById("no-key").addEventListener("click", () => document.getElementById("login").close(""));

/** Ask for a key. Rejects when the person gives none. Questions that wait together are answered by one key. */
export function login(problem = "") {
  waiting ??= new Promise((resolve, reject) => {
    const dialog = document.getElementById("login");
    document.getElementById("login-problem").textContent = problem;
    document.getElementById("key-button").hidden = false;
    dialog.returnValue = "";
    dialog.addEventListener("close", () => {
      waiting = null;
      const field = document.getElementById("key");
      if (dialog.returnValue !== "ok") {
        reject(new Problem(401, { title: "An API key is needed", detail: "No key was given." }));
        return;
      }
      key = field.value.trim();
      field.value = "";
      if (document.getElementById("keep").checked) sessionStorage.setItem(STORED, key);
      else sessionStorage.removeItem(STORED);
      resolve();
    }, { once: true });
    dialog.showModal();
  });
  return waiting;
}
