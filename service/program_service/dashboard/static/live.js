// Live: when the service says that something changed, read this page again and put its content in
// place. Without this script every page and every button works; one reloads by hand.
"use strict";

const main = document.getElementById("main");
const PAUSE_MS = 300;
let timer, running = false, again = false;

async function look() {
  if (running) { again = true; return; }
  if (isBusy()) { later(); return; }
  running = true;
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
    if (!answer.ok || answer.redirected) return;
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    if (!isBusy()) show(fresh);
  } catch {
    // the service is away: the stream comes back by itself, and says so
  } finally {
    running = false;
    if (again) { again = false; later(); }
  }
}

// whoever fills in a form, or marks a text, is not disturbed
function isBusy() {
  const field = document.activeElement;
  const types = field && main.contains(field) && field.matches("input, select, textarea");
  return types || !getSelection().isCollapsed;
}

function show(fresh) {
  const open = new Map([...main.querySelectorAll("details[data-key]")].map((each) => [each.dataset.key, each.open]));
  const focused = addressOf(document.activeElement);
  const before = said();
  main.replaceChildren(...fresh.getElementById("main").childNodes);
  for (const each of main.querySelectorAll("details[data-key]")) {
    if (open.has(each.dataset.key)) each.open = open.get(each.dataset.key);
  }
  if (focused) main.querySelector(focused)?.focus({ preventScroll: true });
  if (said() !== before) document.getElementById("live").textContent = said();
  prepare();
  if (!fresh.body.dataset.feed) stream?.close();
}

function addressOf(element) {
  if (!element || !main.contains(element)) return null;
  if (element.id) return `#${CSS.escape(element.id)}`;
  const link = element.getAttribute("href");
  if (link) return `a[href="${CSS.escape(link)}"]`;
  const key = element.closest("details[data-key]")?.dataset.key;
  return key ? `details[data-key="${CSS.escape(key)}"] > summary` : null;
}

function said() {
  return main.querySelector("[data-say]")?.dataset.say ?? "";
}

function later() {
  clearTimeout(timer);
  timer = setTimeout(look, PAUSE_MS);
}

function prepare() {
  for (const button of main.querySelectorAll("[data-copy]")) {
    button.hidden = false;
    button.onclick = async () => {
      await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
      document.getElementById("live").textContent = "Copied";
      button.textContent = "Copied";
    };
  }
}

prepare();
let stream;
if (document.body.dataset.feed) {
  stream = new EventSource(document.body.dataset.feed);
  stream.addEventListener("change", later);
  // what happened while the stream was away
  stream.addEventListener("open", later);
  addEventListener("pagehide", () => stream.close());
}
