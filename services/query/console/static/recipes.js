/* The question that is shown, as one writes it elsewhere. */

import { address, hasKey } from "./api.js";
import { roughly } from "./question.js";

const KEY = "$MILLRACE_CLIENT_KEY";
const SQL = {
  avg: "avg(value)", min: "min(value)", max: "max(value)", sum: "sum(value)", count: "count(*)",
  stddev: "stddev_samp(value)", median: "percentile_cont(0.5) within group (order by value)",
  first: "(array_agg(value order by timestamp, id))[1]", last: "(array_agg(value order by timestamp desc, id desc))[1]",
};

/** Names of the recipes, in the order of the menu. */
export const RECIPES = { curl, pandas, polars, duckdb, sql, grafana };

/** Return the address of a question in a format. */
export function addressOf(question, format) {
  return address("series", { ...question, format }).href;
}

function curl(question) {
  const auth = hasKey() ? `--header "Authorization: Bearer ${KEY}" ` : "";
  return `curl --fail --compressed ${auth}${shell(addressOf(question, "json"))}`;
}

function pandas(question) {
  const options = hasKey()
    ? ',\n    storage_options={"Authorization": f"Bearer {os.environ[\'MILLRACE_CLIENT_KEY\']}"},' : ",";
  return `${hasKey() ? "import os\n\n" : ""}import pandas as pd

# pip install pandas pyarrow
frame = pd.read_parquet(
    ${JSON.stringify(addressOf(question, "parquet"))}${options}
)`;
}

function polars(question) {
  const url = JSON.stringify(addressOf(question, "arrow"));
  if (!hasKey()) return `import polars as pl\n\nframe = pl.read_ipc_stream(${url})`;
  return `import os, urllib.request
import polars as pl

request = urllib.request.Request(
    ${url},
    headers={"Authorization": f"Bearer {os.environ['MILLRACE_CLIENT_KEY']}"},
)
frame = pl.read_ipc_stream(urllib.request.urlopen(request).read())`;
}

function duckdb(question) {
  const secret = hasKey()
    ? "create secret millrace (type http, bearer_token 'millrace_…');\n" : "";
  return `install httpfs; load httpfs;\n${secret}select * from read_parquet(${quoted(addressOf(question, "parquet"))});`;
}

/** SQL for the database itself, with the reading role; what it has no short words for, it says. */
function sql(question) {
  const chosen = [
    question.sensor_id.length ? `sensor_id in (${question.sensor_id.map(quoted).join(", ")})` : "",
    ...question.match.map(chosenBy),
  ].filter(Boolean).join(" or ");
  const where = `where (${chosen})\n  and timestamp >= ${sqlInstant(question.start)} and timestamp < ${sqlInstant(question.end)}`;
  if (!question.agg) return `select sensor_id, timestamp, value\nfrom sensor_data\n${where}\norder by sensor_id, timestamp, id;`;
  const names = question.agg.split(",");
  const unknown = names.filter((name) => !sqlOf(name));
  const columns = names.filter(sqlOf).map((name) => `,\n       ${sqlOf(name)} as "${name}"`).join("");
  const note = unknown.length ? `-- ${unknown.join(", ")}: no short SQL; ask /series\n` : "";
  const each = question.by === "all" ? "" : "sensor_id, ";
  const bucket = `time_bucket(interval '${interval(question.bucket)}', timestamp, ${quoted(question.tz)})`;
  return `${note}select ${each}${bucket} as bucket${columns}\nfrom sensor_data\n${where}\ngroup by ${each}bucket order by ${each}bucket;`;
}

/** The address for Grafana's Infinity data source: the dashboard's range, and buckets of its resolution. */
function grafana(question) {
  const url = address("series", { ...question, start: "${__from}", end: "${__to}", format: "csv",
    ...(question.agg ? { bucket: "${__interval}", fill: "none" } : {}) }).href;
  return `# Infinity data source: type CSV, parser Backend, format Time series
${url.replaceAll("%24%7B", "${").replaceAll("%7D", "}")}
# columns: timestamp (Time), sensor_id (String), ${(question.agg || "value").replaceAll(",", ", ")} (Number)`;
}

function sqlOf(name) {
  const percent = /^p(\d+(?:\.\d+)?)$/.exec(name);
  if (percent) return `percentile_cont(${Number(percent[1]) / 100}) within group (order by value)`;
  return name === "delta" ? `${SQL.last} - ${SQL.first}` : SQL[name];
}

function sqlInstant(text) {
  if (!text || text === "now") return "now()";
  const back = /^(?:now)?-(\d+)(ms|s|m|h|d|w|mo|y)$/.exec(text);
  if (back) return `now() - interval '${interval(back[1] + back[2])}'`;
  return quoted(new Date(roughly(text, Date.now()) ?? Date.now()).toISOString());
}

const WORDS = { ms: "milliseconds", s: "seconds", m: "minutes", h: "hours", d: "days", w: "weeks", mo: "months", y: "years" };

function interval(length) {
  const parts = /^(\d+)(\w+)$/.exec(length);
  return parts ? `${parts[1]} ${WORDS[parts[2]]}` : length;
}

/** Return the condition that a glob or a selector is; a label that a sensor lacks is the empty text. */
function chosenBy(match) {
  if (!/(?<!\\)\{/.test(match)) return `sensor_id like ${quoted(like(match))}`;
  const [, name, conditions] = /^\s*([^{]*?)\s*\{(.*)\}\s*$/s.exec(match) ?? ["", "", ""];
  const found = name ? [`name = ${quoted(name)}`] : [];
  for (const [, quotedName, plain, operator, text] of conditions.matchAll(CONDITION)) {
    const label = quotedName ? literal(quotedName) : plain;
    const column = COLUMNS.get(label) ?? `coalesce(labels->>${quoted(label)}, '')`;
    const value = literal(text);
    const not = operator.startsWith("!") ? "!" : "";
    found.push(operator.endsWith("~") ? `${column} ${not}~ ${quoted(`^(?:${value})$`)}` : `${column} ${operator} ${quoted(value)}`);
  }
  return `sensor_id in (select sensor_id from sensors where ${found.join(" and ") || "true"})`;
}

const COLUMNS = new Map([["__name__", "coalesce(name, '')"], ["__field__", "coalesce(field, '')"], ["__sensor_id__", "sensor_id"]]);

const CONDITION = /(?:("(?:[^"\\]|\\.)*")|([\w.:]+))\s*(=~|!~|!=|=)\s*("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|`[^`]*`)/g;

/** Return the text that a literal of a selector stands for. */
function literal(written) {
  const inner = written.slice(1, -1);
  if (written.startsWith("`")) return inner;
  return inner.replace(/\\(u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|.)/g, (_, escape) => {
    if (escape.length > 1) return String.fromCodePoint(parseInt(escape.slice(1), 16));
    return { n: "\n", r: "\r", t: "\t" }[escape] ?? escape;
  });
}

function like(glob) {
  return glob.replace(/\\(.)|([%_])|\*|\?/g, (all, taken, special) => {
    if (taken) return /[%_\\]/.test(taken) ? `\\${taken}` : taken;
    if (special) return `\\${special}`;
    return all === "*" ? "%" : "_";
  });
}

function quoted(text) {
  return `'${text.replaceAll("'", "''")}'`;
}

function shell(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
