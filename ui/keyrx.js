// The page: how keyrx is, and keys as they move for who asks to see them.
//
// `keyrx ui` opens it with a code in the fragment, which begins a session and is good once.

const element = (id) => document.getElementById(id);
const MOST_LINES = 200;

function notice(text) {
  element("notice").hidden = !text;
  element("notice").textContent = text;
}

async function beginSession() {
  const code = new URLSearchParams(location.hash.slice(1)).get("code");
  if (!code) return;
  history.replaceState(null, "", location.pathname);
  const answer = await fetch("/api/session", { method: "POST", body: JSON.stringify({ code }) });
  if (!answer.ok) notice((await answer.json()).error.message);
}

async function order(path) {
  const answer = await fetch(path, { method: "POST" });
  const said = await answer.json();
  const mistakes = (said.diagnostics ?? []).map((it) => `${it.file}:${it.line}: ${it.message}`);
  notice(answer.ok ? "" : [said.error.message, ...mistakes].join("\n"));
}

function showStatus(status) {
  element("status").textContent = status.paused ? "paused" : status.status;
  element("status").dataset.status = status.status;
  element("keymap").textContent = status.active_profile ?? status.keymap.path;
  element("keyboards").textContent = status.device_count;
  element("pause").textContent = status.paused ? "Resume" : "Pause";
  element("pause").onclick = () => order(status.paused ? "/api/resume" : "/api/pause");
  element("checks").replaceChildren(...status.checks.map((check) => line(`${check.status}: ${check.reason}`)));
}

function showMetrics(metrics) {
  element("events").textContent = metrics.events.total;
  const { p95, p99 } = metrics.latency_recent_us;
  element("latency").textContent = `95 % within ${p95} µs, 99 % within ${p99} µs`;
}

function showKeys(keys) {
  const list = element("keys");
  for (const key of keys) list.append(line(key.in ? key.in : `    ${key.out}   ${key.cause ?? ""}`));
  while (list.children.length > MOST_LINES) list.firstChild.remove();
  list.lastChild?.scrollIntoView({ block: "nearest" });
}

function line(text) {
  const item = document.createElement("li");
  item.textContent = text;
  return item;
}

function setUsable(isUsable) {
  for (const id of ["pause", "reload", "watch"]) element(id).disabled = !isUsable;
}

function connect() {
  const socket = new WebSocket(`ws://${location.host}/ws`);
  const show = { status: showStatus, metrics: showMetrics, keys: showKeys, error: (it) => notice(it.message) };
  const watch = () => socket.send(JSON.stringify({ type: "watch", keys: element("watch").checked }));
  socket.onopen = () => {
    setUsable(true);
    notice("");
    element("watch").onchange = watch;
    if (element("watch").checked) watch();
  };
  socket.onmessage = ({ data }) => {
    const { type, payload } = JSON.parse(data);
    show[type]?.(payload);
  };
  socket.onclose = () => {
    setUsable(false);
    element("status").textContent = "not connected";
    element("status").dataset.status = "";
    if (element("notice").hidden) notice("keyrx does not answer, or this page is not let in: run `keyrx ui`.");
    setTimeout(connect, 2000);
  };
}

element("reload").onclick = () => order("/api/reload");
await beginSession();
connect();
