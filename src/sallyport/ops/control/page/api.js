// The admin API: requests, streams of events, and what this caller may do.

let token = sessionStorage.getItem("token") ?? "";
export let mayChange = false;

export class ApiError extends Error {
  constructor(code, message) { super(message); this.code = code; }
}

export function useToken(text) {
  token = text.trim();
  sessionStorage.setItem("token", token);
}

async function send(path, options) {
  const headers = token ? { authorization: `Bearer ${token}` } : {};
  const answer = await fetch(path, { headers, cache: "no-store", ...options });
  if (answer.ok) {
    mayChange = answer.headers.get("sallyport-access") === "change";
    return answer;
  }
  const problem = await answer.json().catch(() => ({}));
  throw new ApiError(problem.code ?? "bad-answer", problem.message ?? `HTTP ${answer.status}`);
}

export async function ask(path, query = {}, method = "GET") {
  const given = Object.entries(query).filter(([, value]) => value !== "");
  const search = given.length ? `?${new URLSearchParams(given)}` : "";
  return (await send(`v1/${path}${search}`, { method })).json();
}

// Calls `told` with each document of a stream, until it ends or `signal` does; `begun` once before.
export async function follow(path, query, told, signal, begun = () => {}) {
  const answer = await send(`v1/${path}?${new URLSearchParams(query)}`, { signal });
  begun();
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines) if (line.startsWith("data: ")) told(JSON.parse(line.slice(6)));
  }
}
