// The page: how keyrx is, and keys as they move for who asks to see them.
//
// `keyrx ui` opens it with a code in the fragment, which begins a session and is good once. The session is a secret of
// this tab and this origin, its port included: a cookie would go to every server on this machine. What is shown is
// what keyrx says now: while there is no connection nothing is.

const element = (id) => document.getElementById(id);
const MOST_LINES = 200;
const LOOK_AGAIN_MS = 2000;
const SESSION = "session";

function notice(text) {
  // The same again would be read out again.
  if (element("notice").textContent !== text) element("notice").textContent = text;
}

const session = () => sessionStorage.getItem(SESSION);

function ask(path, options) {
  const headers = session() ? { Authorization: `Bearer ${session()}` } : {};
  return fetch(path, { ...options, headers });
}

// What is wrong with the code, if anything is.
async function beginSession() {
  const code = new URLSearchParams(location.hash.slice(1)).get("code");
  if (!code) return "";
  history.replaceState(null, "", location.pathname);
  const answer = await fetch("/api/session", { method: "POST", body: JSON.stringify({ code }) });
  const said = await answer.json();
  if (!answer.ok) return said.error.message;
  sessionStorage.setItem(SESSION, said.session);
  return "";
}

async function order(path) {
  const answer = await ask(path, { method: "POST" }).catch(() => null);
  if (!answer) return notice("keyrx does not answer.");
  const said = await answer.json();
  const mistakes = (said.diagnostics ?? []).map((it) => `${it.file}:${it.line}: ${it.message}`);
  notice(answer.ok ? "" : [said.error.message, ...mistakes].join("\n"));
}

function showStatus(status) {
  setStatus(status.paused ? "paused" : status.status);
  element("keymap").textContent = status.active_profile ?? status.keymap.path;
  element("keyboards").textContent = status.device_count;
  element("pause").textContent = status.paused ? "Resume" : "Pause";
  element("pause").onclick = () => order(status.paused ? "/api/resume" : "/api/pause");
  element("checks").replaceChildren(...status.checks.map((check) => line(`${check.status}: ${check.reason}`)));
  element("live").hidden = false;
}

function setStatus(status) {
  if (element("status").textContent !== status) element("status").textContent = status;
  element("status").dataset.status = status;
}

function showMetrics(metrics) {
  element("events").textContent = metrics.events.total;
  const { count, p95, p99 } = metrics.latency_recent_us;
  element("latency").textContent = count ? `95 % within ${p95} µs, 99 % within ${p99} µs` : "no keys lately";
}

function showKeys(keys) {
  // Some may have been on their way when it was switched off.
  if (!element("watch").checked) return;
  const list = element("keys");
  for (const key of keys) list.append(line(key.in ? key.in : `    ${key.out}   ${key.cause ?? ""}`));
  while (list.children.length > MOST_LINES) list.firstChild.remove();
  list.scrollTop = list.scrollHeight;
}

function line(text) {
  const item = document.createElement("li");
  item.textContent = text;
  return item;
}

// Shows what keyrx says until the connection ends.
function connection() {
  const socket = new WebSocket(`ws://${location.host}/ws`, ["keyrx", `keyrx.session.${session()}`]);
  const show = { status: showStatus, metrics: showMetrics, keys: showKeys, error: (it) => notice(it.message) };
  element("watch").onchange = ({ target }) => {
    socket.send(JSON.stringify({ type: "watch", keys: target.checked }));
    element("keys").replaceChildren();
  };
  socket.onopen = () => {
    notice("");
    element("watch").checked = false;
    element("keys").replaceChildren();
  };
  socket.onmessage = ({ data }) => {
    const { type, payload } = JSON.parse(data);
    show[type]?.(payload);
  };
  return new Promise((ended) => (socket.onclose = ended));
}

function showNothing(status, why) {
  element("live").hidden = true;
  setStatus(status);
  notice(why);
}

async function run() {
  const refusal = await beginSession().catch(() => "");
  let notLetIn = refusal || "This page is not let in: run `keyrx ui` to open it.";
  for (;;) {
    const access = await ask("/api/session").then((answer) => answer.json()).catch(() => null);
    if (access?.known) {
      await connection();
      notLetIn = "keyrx was started again, or the session is over: this page is no longer let in. Run `keyrx ui` to open it.";
    }
    if (access && !access.known) {
      sessionStorage.removeItem(SESSION);
      showNothing("not let in", notLetIn);
    } else showNothing("not connected", "There is no connection to keyrx. This page keeps trying.");
    await new Promise((over) => setTimeout(over, LOOK_AGAIN_MS));
  }
}

element("reload").onclick = () => order("/api/reload");
// The page is open, and its address was replaced by one with a code.
addEventListener("hashchange", () => location.reload());
await run();
