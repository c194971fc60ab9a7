// The policy as a picture: networks, how they reach each other, and the rules that choose a rule.

import { byId, drawn, element, showTable } from "./dom.js";

const WIDTH = 880;
const BOX = { width: 210, height: 74 };

let shown = "";

function places(networks) {
  const height = networks.length <= 2 ? 170 : 190 + 70 * Math.ceil(networks.length / 2);
  const centre = { x: WIDTH / 2, y: height / 2 };
  return { height, of: new Map(networks.map((one, i) => {
    const angle = Math.PI + (2 * Math.PI * i) / networks.length;
    return [one.name, {
      x: centre.x + Math.cos(angle) * (WIDTH / 2 - BOX.width / 2 - 10),
      y: centre.y + Math.sin(angle) * (height / 2 - BOX.height / 2 - 10),
    }];
  })) };
}

function box(network, at) {
  const isExternal = !network.addresses.length;
  const lines = [network.interfaces.join(", "), isExternal ? "all other addresses" : network.addresses.join(", ")];
  const clip = (text) => (text.length > 30 ? `${text.slice(0, 29)}…` : text);
  return drawn("g", { "data-network": network.name },
    drawn("rect", { x: at.x - BOX.width / 2, y: at.y - BOX.height / 2, width: BOX.width, height: BOX.height, rx: 8, class: `box ${isExternal ? "external" : ""}` }),
    drawn("text", { x: at.x, y: at.y - 14, "text-anchor": "middle", "font-weight": 600 }, network.name),
    ...lines.map((line, i) => drawn("text", { x: at.x, y: at.y + 6 + 18 * i, "text-anchor": "middle", class: "soft mono" }, clip(line))));
}

function edge(rule, from, to, isBothWays) {
  const length = Math.hypot(to.x - from.x, to.y - from.y) || 1;
  const [dx, dy] = [(to.x - from.x) / length, (to.y - from.y) / length];
  const reach = Math.min(Math.abs(BOX.width / 2 / (dx || 1e-9)), Math.abs(BOX.height / 2 / (dy || 1e-9))) + 4;
  const shift = isBothWays ? 26 : 0;
  const [x1, y1] = [from.x + dx * reach - dy * shift, from.y + dy * reach + dx * shift];
  const [x2, y2] = [to.x - dx * reach - dy * shift, to.y - dy * reach + dx * shift];
  const said = ["ipv4", "ipv6"].map((family) => `${family.replace("ipv", "IPv")} ${rule[family] ?? "–"}`).join(", ");
  const turn = (Math.atan2(dy, dx) * 180) / Math.PI;
  return drawn("g", { "data-edge": `${rule.source} ${rule.destination}` },
    drawn("line", { x1, y1, x2: x2 - dx * 8, y2: y2 - dy * 8, class: "arrow" }),
    drawn("path", { d: "M0,0 l-11,-5.5 v11 z", class: "tip", transform: `translate(${x2} ${y2}) rotate(${turn})` }),
    drawn("text", { x: (x1 + x2) / 2, y: (y1 + y2) / 2 - 8, "text-anchor": "middle" }, said));
}

// Fade what a rule does not concern; null shows all again.
function choose(rule) {
  const isConcerned = (names, network) => names.includes(network) || !names.some((name) => byId("picture").querySelector(`[data-network="${CSS.escape(name)}"]`));
  for (const one of byId("picture").querySelectorAll("[data-network]")) {
    const name = one.dataset.network;
    one.classList.toggle("faded", !!rule && !isConcerned(rule.sources ?? [], name) && !isConcerned(rule.destinations ?? [], name));
  }
}

export function showPolicy(policy) {
  const text = JSON.stringify(policy);
  if (text === shown) return;
  shown = text;
  const { height, of } = places(policy.networks);
  const rules = policy.network_rules.filter((one) => of.has(one.source) && of.has(one.destination));
  const pairs = new Set(rules.map((one) => `${one.source} ${one.destination}`));
  const picture = drawn("svg", { viewBox: `0 0 ${WIDTH} ${height}`, role: "img", "aria-label": rules.map((one) => `${one.source} to ${one.destination}: IPv4 ${one.ipv4 ?? "no traffic"}, IPv6 ${one.ipv6 ?? "no traffic"}`).join("; ") },
    ...rules.map((one) => edge(one, of.get(one.source), of.get(one.destination), pairs.has(`${one.destination} ${one.source}`))),
    ...policy.networks.map((one) => box(one, of.get(one.name))));
  byId("picture").replaceChildren(element("div", { class: "scroll" }, picture));

  const action = (row) => element("span", { class: row.action === "allow" ? "good" : "bad" }, row.action);
  showTable(byId("rules"), "Access rules", [
    ["Rule", (row) => row.name], ["Action", action], ["Protocols", (row) => row.protocols.join(", ")],
    ["From", (row) => row.sources.join(", ")], ["To", (row) => row.destinations.join(", ")],
    ["Users", (row) => row.users?.join(", ") ?? "anyone"], ["When", (row) => row.schedule ?? "always"],
    ["Bindings", (row) => String(row.max_bindings_per_client), "number"],
  ], policy.access_rules, "There is no access rule: every binding is denied.");
  byId("rules").querySelectorAll("tbody tr").forEach((line, i) => {
    const rule = policy.access_rules[i];
    line.tabIndex = 0;
    for (const kind of ["focus", "mouseenter"]) line.addEventListener(kind, () => choose(rule));
    for (const kind of ["blur", "mouseleave"]) line.addEventListener(kind, () => choose(null));
  });
  showTable(byId("published"), "Published servers", [
    ["Rule", (row) => row.name], ["Protocol", (row) => row.protocol], ["Listens at", (row) => row.listen, "code"],
    ["Server", (row) => row.server, "code"], ["From", (row) => row.sources?.join(", ") ?? "anyone"],
  ], policy.publishing_rules, "Nothing is published: no conversation begins from outside.");
}
