// The page: views by the address's fragment, and what each asks the gateway.

import { ApiError, ask, follow, mayChange, useToken } from "./api.js";
import { byId, duration, element, showTable, size } from "./dom.js";
import { showPolicy } from "./policy.js";
import * as sequence from "./sequence.js";

const EVERY = 2000; // milliseconds between two looks
const MANY = 500; // rows above which a table is no help, and a poll too dear
const MOST_REFUSALS = 100;

const views = { now: showNow, refusals: showRefusals, explain: showQuestion, trace: showClients, policy: showRules };
const before = new Map(); // bytes of each transfer at the last look, and when
const refused = [];
let reasons = new Map();
let protocols = [];

const current = () => (location.hash.slice(1) in views ? location.hash.slice(1) : "now");
const complain = (text) => { byId("problem").textContent = text; };

function showState(text, kind) {
  const place = byId("state");
  if (place.textContent !== text) place.textContent = text;
  place.className = kind;
}

// -- now ---------------------------------------------------------------------------------------

function speed(row) {
  const bytes = row.from_client_bytes + row.to_client_bytes;
  const last = before.get(row.id);
  const now = performance.now();
  before.set(row.id, { bytes, now });
  const rate = last && now > last.now ? ((bytes - last.bytes) * 1000) / (now - last.now) : row.bytes_per_second;
  return `${size(Math.max(0, rate))}/s`;
}

function ending(kind, row) {
  if (!mayChange) return null;
  const what = `${kind.slice(0, -1)} ${row.id}`;
  return element("button", { class: "small danger", id: `end-${kind}-${row.id}`, "aria-label": `End ${what}`, onclick: () => end(kind, row.id, what) }, "End");
}

async function end(kind, id, what) {
  const dialog = byId("confirm");
  byId("confirm-text").textContent = `End ${what}? Its connections are reset at once.`;
  dialog.returnValue = "no";
  dialog.showModal();
  await new Promise((done) => dialog.addEventListener("close", done, { once: true }));
  if (dialog.returnValue !== "yes") return;
  try { await ask(`${kind}/${encodeURIComponent(id)}`, {}, "DELETE"); } catch (error) { complain(error.message); }
  await look();
}

function figures(status) {
  const known = [["sessions", status.sessions], ["control connections", status.controls], ["bindings", status.bindings],
    ["refusals", Object.values(status.refusals).reduce((sum, count) => sum + count, 0)], ["repairs", status.repairs],
    ["workers", `${status.workers.filter((one) => one.state === "serving").length} of ${status.workers.length} serve`, "text"],
    ["data path", status.data_path, "text"], ["running for", duration(status.uptime_seconds), "text"]];
  byId("figures").replaceChildren(...known.map(([name, value, kind]) =>
    element("div", {}, element("dt", {}, name), element("dd", { class: kind }, String(value)))));
}

const tooMany = (place, what, count) => byId(place).replaceChildren(element("p", { class: "empty" }, `${count} ${what} are too many for a table here: ask "sallyport ${place} list --json".`));
const ends = (kind) => (mayChange ? [["", (row) => ending(kind, row) ?? ""]] : []);

async function showNow(status) {
  figures(status);
  if (status.sessions <= MANY) {
    const [{ transfers }, { sessions }] = await Promise.all([ask("transfers"), ask("sessions")]);
    showTable(byId("transfers"), "Transfers", [
      ["Client", (row) => row.client, "code"], ["", (row) => (row.direction === "inbound" ? "← lets in" : "→ goes to")],
      ["Peer", (row) => row.peer ?? "not known yet", "code"], ["Filter", (row) => row.filter], ["Path", (row) => row.data_path],
      ["Bytes", (row) => size(row.from_client_bytes + row.to_client_bytes), "number"], ["Speed", speed, "number"], ...ends("transfers"),
    ], transfers, "No transfer runs.");
    showTable(byId("sessions"), "Sessions", [
      ["Id", (row) => row.id, "code"], ["Client", (row) => row.client, "code"], ["Since", (row) => new Date(row.since).toLocaleTimeString()],
      ["Talks to", (row) => row.controls.map((one) => `${one.filter} at ${one.server}`).join(", ") || "no server now"],
      ["Bindings", (row) => String(row.bindings), "number"], ...ends("sessions"),
    ], sessions, "No client is served: sessions appear when one connects to a supervised port.");
  } else {
    tooMany("transfers", "sessions with their transfers", status.sessions);
    tooMany("sessions", "sessions", status.sessions);
  }
  if (status.bindings > MANY) { tooMany("bindings", "bindings", status.bindings); return; }
  const { bindings } = await ask("bindings");
  showTable(byId("bindings"), "Bindings", [
    ["Id", (row) => row.id, "code"], ["At", (row) => `${row.transport} ${row.proxy_address}`, "code"],
    ["To", (row) => row.client_address ?? "not known yet", "code"], ["Peers", (row) => (row.peers ? row.peers.join(", ") || "none" : "anyone"), "code"],
    ["State", (row) => row.state], ["Rule", (row) => row.rule], ["Ends in", (row) => (row.expires_in === null ? "with its connection" : duration(row.expires_in)), "number"], ...ends("bindings"),
  ], bindings, "No port is open for a client.");
}

// -- refusals ----------------------------------------------------------------------------------

function inWords(code) {
  const known = reasons.get(code);
  if (!known) return element("span", {}, code);
  return element("span", {}, `${known.happened} `, element("span", { class: "soft" }, known.remedy));
}

function showRefusals(status) {
  if (!listening) listen();
  const rows = Object.entries(status.refusals).sort((a, b) => b[1] - a[1]).map(([code, count]) => ({ code, count }));
  showTable(byId("counts"), "Refusals by reason", [
    ["Times", (row) => String(row.count), "number"], ["Reason", (row) => row.code, "code"], ["In words, and what to do", (row) => inWords(row.code)],
  ], rows, "Nothing was refused.");
  showTable(byId("refused"), "Latest refusals", [
    ["At", (row) => row.time.slice(11, 19)], ["What", (row) => row.event, "code"], ["Client", (row) => row.client ?? row.session ?? "", "code"],
    ["Server", (row) => row.server ?? "", "code"], ["Reason", (row) => row.reason ?? "", "code"], ["In words", (row) => inWords(row.reason)],
  ], refused, "Nothing was refused since this view was opened.");
}

let listening = null;

// Every record is made for who listens: only this view does.
async function listen() {
  const mine = new AbortController();
  listening = mine;
  const heard = (record) => {
    if (!/\.(refused|denied)$/.test(record.event ?? "")) return;
    refused.unshift(record);
    refused.length = Math.min(refused.length, MOST_REFUSALS);
  };
  try { await follow("events", {}, heard, mine.signal); } catch (error) { if (!mine.signal.aborted) complain(error.message); }
  if (listening === mine) listening = null;
}

// -- explain -----------------------------------------------------------------------------------

function showQuestion() {
  byId("protocols").replaceChildren(...protocols.map((name) => element("option", { value: name })));
}

async function explain(event) {
  event.preventDefault();
  const place = byId("explained");
  try {
    const answer = await ask("explain", Object.fromEntries(new FormData(event.target)));
    const kinds = { found: "soft", "passed-over": "soft", within: "good", refused: "bad" };
    place.replaceChildren(...[
      element("p", { class: `verdict ${answer.allowed ? "good" : "bad"}` }, answer.allowed ? `✓ Allowed by the rule ${answer.rule}` : `✗ Refused: ${answer.reason}`),
      element("p", {}, answer.meaning), answer.allowed ? null : element("p", {}, answer.remedy, answer.key ? element("span", {}, " Key: ", element("code", {}, answer.key)) : ""),
      element("p", { class: "soft" }, `${answer.client_network ?? "?"} to ${answer.peer_network ?? "?"}, ${answer.relation ?? "no relation"}; ${answer.interception}`),
      answer.would_open ? element("p", {}, `Would open ${answer.would_open}`) : "",
      element("ol", { class: "steps" }, ...answer.steps.map((step) => element("li", {}, element("span", { class: kinds[step.outcome] }, step.outcome), ` ${step.question}: ${step.answer}`, step.rule ? ` (rule ${step.rule})` : "")))].filter(Boolean));
  } catch (error) {
    place.replaceChildren(element("p", { class: "bad" }, error.message));
  }
}

// -- trace -------------------------------------------------------------------------------------

let following = null;

async function showClients() {
  if (!following && !byId("sequence").firstChild) sequence.begin();
  const { sessions } = await ask("sessions");
  byId("clients").replaceChildren(...sessions.slice(0, MANY).map((row) => element("option", { value: row.id }, row.client)));
}

async function trace(event) {
  event.preventDefault();
  following?.abort();
  const mine = new AbortController();
  following = mine;
  const whom = new FormData(event.target).get("whom").trim();
  byId("unfollow").disabled = false;
  byId("following").textContent = "";
  sequence.begin();
  const query = /(^|\.)s\d+$/.test(whom) ? { session: whom } : { client: whom };
  let end = "The gateway has ended the trace.";
  try { await follow("trace", query, sequence.add, mine.signal, () => { byId("following").textContent = `Following ${whom}.`; }); } catch (error) { end = mine.signal.aborted ? "Stopped." : error.message; }
  if (following !== mine) return;
  following = null;
  byId("unfollow").disabled = true;
  byId("following").textContent = end;
}

// -- policy and the rest -----------------------------------------------------------------------

async function showRules() { showPolicy(await ask("rules")); }

function turn() {
  byId("view-login").hidden = true;
  for (const name of Object.keys(views)) byId(`view-${name}`).hidden = name !== current();
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#${current()}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (current() !== "refusals") listening?.abort();
  document.title = `${current()} – Sallyport`;
}

async function look() {
  try {
    const status = await ask("status");
    const right = mayChange ? "you may change" : "you may look";
    if (status.degraded) showState(`degraded: ${status.degraded}`, "bad");
    else showState(`in order, release ${status.release}, ${right}`, "good");
    if (byId(`view-${current()}`).hidden) turn();
    await views[current()](status);
    complain("");
    return true;
  } catch (error) {
    if (error instanceof ApiError && error.code === "not-authenticated") {
      showState("a token is needed", "bad");
      for (const name of Object.keys(views)) byId(`view-${name}`).hidden = true;
      byId("view-login").hidden = false;
      return false;
    }
    showState(error instanceof ApiError ? error.message : "the gateway does not answer", "bad");
    return true;
  }
}

async function begin() {
  if (!(await look())) return;
  const [known, filters] = await Promise.all([ask("reasons"), ask("filters")]);
  reasons = new Map(known.reasons.map((one) => [one.code, one]));
  protocols = filters.filters.flatMap((one) => one.protocols);
  for (;;) {
    await new Promise((done) => setTimeout(done, EVERY));
    if (!document.hidden && !(await look())) return;
  }
}

byId("login").addEventListener("submit", (event) => { event.preventDefault(); useToken(byId("token").value); begin(); });
byId("question").addEventListener("submit", explain);
byId("follow").addEventListener("submit", trace);
byId("unfollow").addEventListener("click", () => following?.abort());
window.addEventListener("hashchange", () => { turn(); look(); byId("content").focus(); });
begin();
