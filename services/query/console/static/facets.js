/* Labels of the catalogue, each a field that suggests its values. */

import { json } from "./api.js";
import { element, labelled } from "./dom.js";

const MOST = 1000;

// A label may be called like what every object has, so names of others are looked up in maps.
const CAPTIONS = new Map([["__name__", "name"], ["__field__", "field"]]);

/**
 * Return `{ node, load, show, chosen }`: the fields, what makes them where that failed before, what sets them by pairs,
 * and the pairs that are chosen now.
 */
export function facets(changed) {
  const node = element("div", { class: "facets", role: "group", "aria-label": "Labels" });
  const lists = new Map();
  let wanted = [];
  let loading = null;

  function load() {
    // Where that fails so does the list, which says why, and comes here again.
    loading ??= json("labels", { limit: MOST }).then(({ data }) => {
      for (const label of data) add(label);
      show(wanted);
    }, () => { loading = null; });
  }

  function add(label) {
    const id = `values-${lists.size}`;
    const values = element("datalist", { id });
    const field = element("input", { type: "search", list: id, placeholder: "any", autocomplete: "off", spellcheck: "false",
      onfocus: () => fill(label, values), onchange: () => changed(chosen()) });
    lists.set(label, field);
    node.append(labelled(CAPTIONS.get(label) ?? label, field), values);
  }

  /** Suggest values; of more than fit on a page the others can be typed. */
  async function fill(label, values) {
    if (values.children.length) return;
    const { data } = await json(`labels/${encodeURIComponent(label)}/values`, { limit: MOST }).catch(() => ({ data: [] }));
    values.replaceChildren(...data.map((value) => element("option", { value })));
  }

  function chosen() {
    return lists.size ? [...lists].filter(([, field]) => field.value).map(([label, field]) => [label, field.value]) : wanted;
  }

  function show(pairs) {
    wanted = pairs;
    for (const [label, field] of lists) field.value = pairs.find(([name]) => name === label)?.[1] ?? "";
  }

  load();
  return { node, load, show, chosen };
}
