// Elements, tables and words. Text goes into text nodes only: much of it was written by peers.

export const byId = (id) => document.getElementById(id);

export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) made.setAttribute(key, value);
  }
  made.append(...children.filter((one) => one !== null && one !== undefined));
  return made;
}

export function drawn(name, attributes = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

// `columns`: [title, cell of a row, class]. The focus stays on the button that had it.
export function showTable(place, caption, columns, rows, empty) {
  if (!rows.length) {
    place.replaceChildren(element("p", { class: "empty" }, empty));
    return;
  }
  const focused = place.contains(document.activeElement) ? document.activeElement.id : "";
  const head = columns.map(([title, , kind]) => element("th", { scope: "col", class: kind }, title));
  const body = rows.map((row) => element("tr", {}, ...columns.map(([title, cell, kind]) =>
    element("td", { class: kind, "data-label": title }, cell(row)))));
  place.replaceChildren(element("table", { "aria-label": caption },
    element("thead", {}, element("tr", {}, ...head)), element("tbody", {}, ...body)));
  if (focused) byId(focused)?.focus();
}

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB"];

export function size(bytes) {
  let unit = 0;
  while (bytes >= 1024 && unit < UNITS.length - 1) { bytes /= 1024; unit += 1; }
  return `${unit ? bytes.toFixed(1) : Math.round(bytes)} ${UNITS[unit]}`;
}

export function duration(seconds) {
  const parts = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  const words = [];
  let rest = Math.floor(seconds);
  for (const [length, unit] of parts) {
    if (rest >= length || (unit === "s" && !words.length)) words.push(`${Math.floor(rest / length)} ${unit}`);
    rest %= length;
  }
  return words.slice(0, 2).join(" ");
}
