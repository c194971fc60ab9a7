// One conversation as a drawing: client, gateway, server, and the pinholes between them.

import { byId, drawn, element } from "./dom.js";

const LANES = { client: 90, gateway: 350, pinhole: 560, server: 790 };
const ROW = 30;
const MOST = 400; // arrows that are kept: a long session, and a page that stays quick

let steps = [];

const clip = (text, most) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);
const clock = (step) => (step.time ?? "").slice(11, 19);

// What an event is in the drawing: [from lane, to lane, words, class].
function pictured(record) {
  const kind = record.event;
  if (kind === "trace.said") return [record.sender, record.receiver, record.text, ""];
  if (kind === "trace.decided") {
    const isAllowed = record.reason === "allowed-by-rule";
    return ["gateway", "gateway", `${record.asked ?? "connect"}: ${record.reason}`, isAllowed ? "good" : "bad"];
  }
  if (kind === "trace.carried_out") return ["gateway", "pinhole", `${record.action}, ${record.microseconds} µs`, ""];
  if (kind === "binding.reserved") return ["gateway", "pinhole", `hold ${record.proxy}`, ""];
  if (kind === "binding.armed") return ["gateway", "pinhole", `open ${record.proxy}`, "good"];
  if (kind === "binding.established") return ["server", "client", `${record.peer} comes in`, "good"];
  if (kind === "connect.established") return ["client", "server", "passive transfer", "good"];
  if (kind === "binding.closed" || kind === "connect.secondary_closed") return ["gateway", "pinhole", `closed: ${record.reason}`, ""];
  if (kind === "connect.accepted") return ["client", "server", `${record.protocol} to ${record.server}`, "good"];
  if (kind === "connect.closed") return ["client", "server", `over: ${record.reason}`, ""];
  if (/\.(refused|denied|failed)$/.test(kind)) return ["gateway", "client", `${kind}: ${record.reason ?? ""}`, "bad"];
  return null;
}

export function begin() {
  steps = [];
  show();
}

// A line that leaves as it came is one arrow from end to end: what is drawn in two was rewritten.
function passesOn(record) {
  const came = steps.slice(-6).reverse().find((one) => one.to === "gateway" && one.from !== record.receiver && one.from in LANES && one.words === record.text);
  if (!came || came.from === "gateway") return false;
  came.to = record.receiver;
  return true;
}

export function add(record) {
  const found = record.lost ? ["gateway", "gateway", `${record.lost} records are missing here`, "bad"] : pictured(record);
  if (!found || !(found[0] in LANES) || !(found[1] in LANES)) return;
  if (record.event === "trace.said" && record.sender === "gateway" && passesOn(record)) { show(); return; }
  steps.push({ time: record.time, from: found[0], to: found[1], words: String(found[2]), kind: found[3] });
  steps = steps.slice(-MOST);
  show();
}

function arrow(step, y) {
  const [from, to] = [LANES[step.from], LANES[step.to]];
  const label = { y: y - 6, class: `mono ${step.kind}` };
  if (from === to) {
    return drawn("g", {}, drawn("circle", { cx: from, cy: y - 4, r: 4, class: `tip ${step.kind}` }),
      drawn("text", { ...label, x: from + 10, y }, clip(step.words, 62)));
  }
  const sign = Math.sign(to - from);
  const start = Math.min(from, to) + 8;
  const room = Math.floor((Math.abs(to - from) - 12) / 7.3);
  return drawn("g", {},
    drawn("line", { x1: from, x2: to - 7 * sign, y1: y, y2: y, class: `arrow ${step.kind}` }),
    drawn("path", { d: `M${to},${y} l${-9 * sign},-4.5 v9 z`, class: `tip ${step.kind}` }),
    drawn("text", { ...label, x: start }, clip(step.words, room)));
}

function show() {
  const place = byId("sequence");
  if (!steps.length) {
    place.replaceChildren(element("p", { class: "empty" },
      "Nothing yet. What the client and its server say to each other, and the pinholes that follow from it, are drawn here as they happen."));
    return;
  }
  const height = 50 + steps.length * ROW;
  const lanes = Object.entries(LANES).flatMap(([name, x]) => [
    drawn("text", { x, y: 20, "text-anchor": "middle", "font-weight": 600 }, name),
    drawn("line", { x1: x, x2: x, y1: 30, y2: height, class: "lane" })]);
  const rows = steps.map((step, i) => drawn("g", {},
    drawn("text", { x: 4, y: 60 + i * ROW, class: "soft mono", "font-size": 11 }, clock(step)),
    arrow(step, 60 + i * ROW)));
  const picture = drawn("svg", { viewBox: `0 0 880 ${height + 10}`, "aria-hidden": "true" }, ...lanes, ...rows);
  const words = steps.map((step) => element("li", {}, `${clock(step)} ${step.from} to ${step.to}: `, element("code", {}, step.words)));
  const isOpen = place.querySelector("details")?.open;
  place.replaceChildren(element("div", { class: "scroll" }, picture),
    element("details", isOpen ? { open: "" } : {}, element("summary", {}, `The same in words (${steps.length})`), element("ol", { class: "steps" }, ...words)));
}
