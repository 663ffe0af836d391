// The page in a real browser, served by a real keyrx with simulated keyboards. `cargo xtask test browser` runs this.
//
// What is compared is what a user sees, and what keyrx says to its commands. Each test has a keyrx and a browser
// profile of its own, and fails if the page logs an error that the test does not name.

import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";

const { PROGRAM, DIRECTORY, CHROMIUM, PLAYWRIGHT } = process.env;
const { chromium } = createRequire(import.meta.url)(PLAYWRIGHT);
const PATIENCE = 20_000;
const FLAGS = [
  "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync", "--no-proxy-server", "--host-resolver-rules=MAP evil.example 127.0.0.1",
];

let browser;
before(async () => {
  browser = await chromium.launch({ executablePath: CHROMIUM, args: FLAGS });
});
after(() => browser.close());

/** Waits until something is so, and gives it; else says how it was last. */
async function until(what, get) {
  const end = Date.now() + PATIENCE;
  for (let last; ; await sleep(50)) {
    try {
      const it = await get();
      if (it) return it;
      last = it;
    } catch (error) {
      last = error;
    }
    if (Date.now() > end) throw new Error(`waited in vain for ${what}`, { cause: last });
  }
}

class Keyrx {
  constructor() {
    const home = mkdtempSync(join(DIRECTORY, "keyrx-"));
    this.keymap = join(home, "keymap.rhai");
    this.state = join(home, "state");
    writeFileSync(this.keymap, 'map("A", "B");\n');
  }

  async start(port = 0) {
    const words = ["run", "--platform", "simulated", "--port", port, "--config", this.keymap, "--state-dir", this.state];
    this.child = spawn(PROGRAM, words, { stdio: "ignore" });
    this.ended = once(this.child, "exit");
    this.port = await until("keyrx to answer", async () => (await this.status()).port);
    this.origin = `http://127.0.0.1:${this.port}`;
  }

  async stop() {
    this.child.kill();
    await this.ended;
  }

  /** What a command says to this keyrx. */
  async say(...words) {
    return (await promisify(execFile)(PROGRAM, [...words, "--state-dir", this.state])).stdout;
  }

  async status() {
    return JSON.parse(await this.say("status", "--json"));
  }

  /** The address that lets a page in. */
  async address() {
    return (await this.say("ui", "--print")).trim();
  }

  /** Types on a simulated keyboard. */
  async type(events) {
    const authorization = `Bearer ${readFileSync(join(this.state, "token"), "utf8").trim()}`;
    const body = JSON.stringify({ events });
    const answer = await fetch(`${this.origin}/api/input`, { method: "POST", headers: { authorization }, body });
    assert.equal(answer.status, 202);
  }
}

/** A test with a keyrx and a browser profile; `errors` may be logged, and no others. */
function holds(name, errors, body) {
  test(name, { timeout: 60_000 }, async () => {
    const keyrx = new Keyrx();
    const context = await browser.newContext({ viewport: { width: 800, height: 700 } });
    const logged = [];
    const page = await context.newPage();
    page.on("console", (message) => {
      if (message.type() === "error") logged.push(`${message.text()} ${message.location().url}`);
    });
    page.on("pageerror", (error) => logged.push(String(error)));
    try {
      await keyrx.start();
      await body(keyrx, page, context);
      assert.deepEqual(logged.filter((text) => !errors.some((error) => error.test(text))), []);
    } finally {
      await context.close();
      await keyrx.stop();
    }
  });
}

/** Waits until an element shows this. */
function shows(page, id, expected) {
  const what = async () => {
    const text = await page.locator(`#${id}`).innerText();
    if (expected.test(text)) return true;
    throw new Error(`it shows ${JSON.stringify(text)}`);
  };
  return until(`#${id} to show ${expected}`, what);
}

/** Nothing of keyrx is to be seen. */
async function assertNothingShown(page, keyrx) {
  assert.equal(await page.locator("#live").isVisible(), false);
  assert.ok(!(await page.locator("body").innerText()).includes(keyrx.keymap));
}

/** The secret that a page keeps. */
function secretOf(page) {
  return page.evaluate(() => sessionStorage.getItem("session"));
}

async function open(page, keyrx) {
  await page.goto(await keyrx.address());
  await shows(page, "status", /^healthy$/);
}

holds("opened by its code the page shows the status and the keymap, and the code works once", [], async (keyrx, page, context) => {
  const address = await keyrx.address();
  assert.match(address, /#code=\w{64}$/);
  await page.goto(address);
  await shows(page, "status", /^healthy$/);
  await shows(page, "keymap", new RegExp(`^${keyrx.keymap}$`));
  await shows(page, "notice", /^$/);
  assert.equal(page.url(), `${keyrx.origin}/`);
  await page.reload();
  await shows(page, "status", /^healthy$/);

  const other = await context.browser().newContext();
  const late = await other.newPage();
  await late.goto(address);
  await shows(late, "notice", /code is wrong, was used/);
  await shows(late, "status", /^not let in$/);
  await assertNothingShown(late, keyrx);
  await other.close();
});

holds("a page without a code says that it is not let in, until it gets one", [], async (keyrx, page) => {
  const answers = [];
  page.on("response", (answer) => answers.push(answer.text()));
  await page.goto(keyrx.origin);
  await shows(page, "status", /^not let in$/);
  await shows(page, "notice", /keyrx ui/);
  await assertNothingShown(page, keyrx);
  assert.ok(answers.length >= 4, "the page, its files, and that it has no session");
  page.removeAllListeners("response");
  assert.deepEqual((await Promise.all(answers)).filter((text) => text.includes(keyrx.keymap)), []);
  // In the same tab only the fragment changes.
  await page.goto(await keyrx.address());
  await shows(page, "status", /^healthy$/);
  assert.equal(page.url(), `${keyrx.origin}/`);
});

holds("Pause pauses keyrx, and page and command agree", [], async (keyrx, page) => {
  await open(page, keyrx);
  assert.equal((await keyrx.status()).paused, false);
  await page.getByRole("button", { name: "Pause" }).click();
  await shows(page, "status", /^paused$/);
  assert.equal((await keyrx.status()).paused, true);
  await keyrx.say("resume");
  await shows(page, "status", /^healthy$/);
  await keyrx.say("pause");
  await shows(page, "status", /^paused$/);
  await page.getByRole("button", { name: "Resume" }).click();
  await shows(page, "status", /^healthy$/);
  assert.equal((await keyrx.status()).paused, false);
});

holds("Reload of a broken keymap shows the mistake with its place", [/status of 422 .*\/api\/reload$/], async (keyrx, page) => {
  await open(page, keyrx);
  writeFileSync(keyrx.keymap, 'map("A", "B");\nmap("A", "Bogus");\n');
  await page.getByRole("button", { name: "Reload" }).click();
  await shows(page, "notice", /keymap\.rhai:2: .*Bogus/);
  await shows(page, "checks", /last good one is in force/);
  writeFileSync(keyrx.keymap, 'map("A", "C");\n');
  await page.getByRole("button", { name: "Reload" }).click();
  await shows(page, "notice", /^$/);
  await shows(page, "status", /^healthy$/);
});

holds("keys are shown with their cause to who asks, and else not even sent", [], async (keyrx, page, context) => {
  let sent = 0;
  page.on("websocket", (socket) => socket.on("framereceived", ({ payload }) => {
    if (JSON.parse(payload).type === "keys") sent += 1;
  }));
  await open(page, keyrx);
  const watch = page.getByRole("checkbox", { name: "Show keys" });
  await keyrx.type("+A 50 -A");
  await shows(page, "events", /^2$/);
  await shows(page, "keys", /^$/);
  assert.equal(sent, 0);

  await watch.check();
  await until("keyrx to know of the viewer", async () => (await keyrx.status()).viewers === 1);
  await keyrx.type("+A 50 -A");
  await shows(page, "keys", /^\+A\n +\+B   A, line 1: map\("A", "B"\)\n-A\n +-B   A, line 1/);
  assert.ok(sent > 0);

  await watch.uncheck();
  await shows(page, "keys", /^$/);
  await until("keyrx to know of no viewer", async () => (await keyrx.status()).viewers === 0);
  sent = 0;
  // Another page may watch; this one does not.
  const other = await context.newPage();
  await open(other, keyrx);
  await other.getByRole("checkbox", { name: "Show keys" }).check();
  await until("keyrx to know of the other viewer", async () => (await keyrx.status()).viewers === 1);
  await keyrx.type("+A 50 -A");
  await shows(other, "keys", /^\+A\n.*\n-A\n/);
  await shows(page, "events", /^6$/);
  await shows(page, "keys", /^$/);
  assert.equal(sent, 0);
});

// That a server is gone the browser logs itself.
holds("a keyrx that was started again is found again, and the page says that it needs a new code", [/ERR_CONNECTION_REFUSED/], async (keyrx, page) => {
  await open(page, keyrx);
  const { port } = keyrx;
  await keyrx.stop();
  await shows(page, "status", /^not connected$/);
  await shows(page, "notice", /no connection to keyrx/);
  await assertNothingShown(page, keyrx);
  await keyrx.start(port);
  assert.equal(keyrx.port, port);
  await shows(page, "status", /^not let in$/);
  await shows(page, "notice", /started again.*keyrx ui/);
  await assertNothingShown(page, keyrx);
  assert.equal(await secretOf(page), null);
  await open(page, keyrx);
});

holds("a page that was let in stays so when it is loaded again, and no other tab is", [], async (keyrx, page, context) => {
  await open(page, keyrx);
  const secret = await secretOf(page);
  await page.reload();
  await shows(page, "status", /^healthy$/);
  assert.equal(await secretOf(page), secret);

  const other = await context.newPage();
  await other.goto(keyrx.origin);
  await shows(other, "status", /^not let in$/);
  await assertNothingShown(other, keyrx);
  await open(other, keyrx);
  assert.notEqual(await secretOf(other), secret);
  await shows(page, "status", /^healthy$/);
});

holds("the secret of a session is in no address, in no answer but one, and in no cookie", [], async (keyrx, page, context) => {
  const addresses = new Set();
  const answers = [];
  page.on("request", (request) => addresses.add(request.url()));
  page.on("websocket", (socket) => {
    addresses.add(socket.url());
    socket.on("framereceived", ({ payload }) => answers.push(Promise.resolve({ url: socket.url(), text: payload })));
  });
  page.on("response", (answer) => answers.push(answer.text().then((text) => ({ url: answer.url(), text }))));
  await open(page, keyrx);
  await page.getByRole("button", { name: "Reload" }).click();
  await until("the metrics to come", async () => answers.length >= 8);
  page.removeAllListeners("response");
  const secret = await secretOf(page);
  assert.match(secret, /^\w{64}$/);
  const telling = (await Promise.all(answers)).filter(({ text }) => text.includes(secret));
  assert.deepEqual(telling.map(({ url }) => url), [`${keyrx.origin}/api/session`]);
  assert.ok(addresses.has(`${keyrx.origin.replace("http", "ws")}/ws`));
  assert.deepEqual([...addresses, page.url()].filter((address) => address.includes(secret)), []);
  assert.ok(!(await page.content()).includes(secret));
  assert.deepEqual(await context.cookies(), []);
});

/** A server that is not keyrx, on another port of this machine, with all that it has been sent. */
async function otherServer() {
  const sent = [];
  const server = createServer((request, answer) => {
    sent.push([request.url, ...request.rawHeaders]);
    answer.setHeader("Content-Type", "text/html").end("<body>");
  });
  server.on("upgrade", (request, socket) => {
    sent.push([request.url, ...request.rawHeaders]);
    socket.destroy();
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  const stop = () => {
    server.closeAllConnections();
    server.close();
  };
  return { sent, stop, port: server.address().port };
}

// The browser logs itself that the WebSocket fails.
holds("a server on another port that the browser visits is sent no secret and finds none", [/WebSocket connection to/], async (keyrx, page, context) => {
  await open(page, keyrx);
  const secret = await secretOf(page);
  const server = await otherServer();
  try {
    const other = await context.newPage();
    // The tab of the page itself goes there, too.
    for (const visitor of [other, page]) {
      await visitor.goto(`http://127.0.0.1:${server.port}/`);
      await visitor.evaluate(async () => {
        await fetch("/fetched", { credentials: "include" });
        await new Promise((over) => (new WebSocket(`ws://${location.host}/socket`).onclose = over));
      });
      const found = await visitor.evaluate(() => JSON.stringify([document.cookie, { ...sessionStorage }, { ...localStorage }, document.referrer]));
      assert.equal(found, '["",{},{},""]');
    }
    const asked = server.sent.map(([url]) => url).filter((url) => url !== "/favicon.ico");
    assert.deepEqual(asked, ["/", "/fetched", "/socket", "/", "/fetched", "/socket"]);
    assert.deepEqual(server.sent.flat().filter((text) => text.includes(secret) || /^cookie$/i.test(text)), []);
    // Back in its own place the page is let in as before.
    await page.goBack();
    await shows(page, "status", /^healthy$/);
  } finally {
    server.stop();
  }
});

/** What a page is answered, as the browser gets it: a page is not told what it may not read. */
async function answersTo(context, page) {
  const answers = new Map();
  const answer = (id) => answers.get(id) ?? answers.set(id, { url: "" }).get(id);
  const network = await context.newCDPSession(page);
  network.on("Network.requestWillBeSent", ({ requestId, request }) => (answer(requestId).url = request.url));
  network.on("Network.webSocketCreated", ({ requestId, url }) => (answer(requestId).url = url));
  network.on("Network.webSocketFrameError", ({ requestId, errorMessage }) => (answer(requestId).status = Number(errorMessage.match(/\d+$/))));
  network.on("Network.requestWillBeSentExtraInfo", ({ requestId, headers }) => (answer(requestId).sent = Object.keys(headers).join(" ")));
  network.on("Network.responseReceivedExtraInfo", ({ requestId, statusCode }) => (answer(requestId).status = statusCode));
  await network.send("Network.enable");
  return answers;
}

/** What a page tries with keyrx: what it could read, by what was tried. Runs in the browser. */
async function attack(origin) {
  const read = {};
  for (const path of ["/api/status", "/api/keymap", "/health", "/metrics"]) {
    for (const mode of ["cors", "no-cors"]) {
      const answer = fetch(origin + path, { mode, credentials: "include" });
      read[`${mode} ${path}`] = await answer.then((it) => it.text(), () => "");
    }
  }
  const load = (kind, attributes) => new Promise((over) => {
    const element = Object.assign(document.createElement(kind), attributes, { onload: over, onerror: over });
    document.body.append(element);
  });
  await load("script", { src: `${origin}/api/keymap` });
  await load("img", { src: `${origin}/favicon.ico` });
  await load("iframe", { src: `${origin}/`, name: "framed" });
  for (const mode of ["cors", "no-cors"]) {
    const answer = fetch(`${origin}/api/pause`, { method: "POST", mode, credentials: "include" });
    read[`${mode} pause`] = await answer.then((it) => it.text(), () => "");
  }
  const form = Object.assign(document.createElement("form"), { method: "post", action: `${origin}/api/pause`, target: "sent" });
  const sent = load("iframe", { name: "sent" });
  document.body.append(form);
  await sent;
  const answered = new Promise((over) => (document.querySelector("[name=sent]").onload = over));
  form.submit();
  await answered;
  read.socket = await new Promise((over) => {
    const socket = new WebSocket(`${origin.replace("http", "ws")}/ws`);
    socket.onmessage = ({ data }) => over(data);
    socket.onclose = () => over("");
  });
  return read;
}

for (const host of ["127.0.0.1", "localhost", "evil.localhost", "evil.example"]) {
  holds(`a page of another server, at ${host}, gets nothing and does nothing`, [], async (keyrx, page, context) => {
    await open(page, keyrx);
    const server = await otherServer();
    try {
      const evil = await context.newPage();
      await evil.goto(`http://${host}:${server.port}/`);
      const answers = await answersTo(context, evil);
      const read = await evil.evaluate(attack, keyrx.origin);
      assert.deepEqual(Object.entries(read).filter(([, text]) => text), []);
      // All of it came to keyrx, which has turned it away itself.
      const ours = [...answers.values()].filter(({ url }) => url.includes(`127.0.0.1:${keyrx.port}/`));
      assert.deepEqual([...new Set(ours.map(({ status }) => status))], [403]);
      const asked = (path) => ours.filter(({ url }) => new URL(url).pathname === path).length;
      assert.deepEqual([asked("/api/status"), asked("/api/keymap"), asked("/api/pause"), asked("/ws")], [2, 3, 3, 1]);
      const sent = ours.filter(({ url }) => url.startsWith("http:")).map(({ sent }) => sent);
      assert.deepEqual(sent.filter((names) => !/host/i.test(names) || /cookie|authorization/i.test(names)), []);
    } finally {
      server.stop();
    }
    assert.equal((await keyrx.status()).paused, false);
    await shows(page, "status", /^healthy$/);
  });
}

for (const host of ["evil.localhost", "evil.example"]) {
  holds(`a page whose name, ${host}, was pointed at keyrx gets nothing and does nothing`, [], async (keyrx, page, context) => {
    await open(page, keyrx);
    const evil = await context.newPage();
    const origin = `http://${host}:${keyrx.port}`;
    assert.equal((await evil.goto(origin)).status(), 421);
    assert.equal(await evil.evaluate("origin"), origin);
    const read = await evil.evaluate(attack, origin);
    assert.equal(read.socket, "");
    // Its own origin can be read by it, so that these are the answers of keyrx.
    for (const [what, text] of Object.entries(read).filter(([what]) => what !== "socket")) {
      assert.equal(JSON.parse(text).error.code, "wrong_host", what);
      assert.ok(!text.includes(keyrx.keymap), what);
    }
    assert.equal((await keyrx.status()).paused, false);
  });
}
