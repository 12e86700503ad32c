// The pages work without this. With it, times are the reader's own, buttons answer at once, and progress is live.

const root = document.body.dataset.root;
const api = root + "api/";
const main = document.getElementById("main");
const toast = document.getElementById("toast");

// Words ---------------------------------------------------------------------------------------------------------------

function size(bytes) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  let i = 0;
  for (; bytes >= 1024 && i < units.length - 1; i++) bytes /= 1024;
  return (i && bytes < 10 ? bytes.toFixed(1) : Math.round(bytes)) + " " + units[i];
}

function elapsed(seconds) {
  const s = Math.max(0, Math.round(seconds)), m = Math.floor(s / 60), h = Math.floor(m / 60);
  return h ? `${h}h${m % 60}m` : m ? `${m}m${s % 60}s` : `${s}s`;
}

const relative = new Intl.RelativeTimeFormat("en", { numeric: "auto" });
const steps = [["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]];

function ago(date) {
  const seconds = (date - Date.now()) / 1000;
  const [unit, length] = steps.find(([, n]) => Math.abs(seconds) >= n) ?? steps[3];
  return unit === "second" && Math.abs(seconds) < 10 ? "just now" : relative.format(Math.round(seconds / length), unit);
}

const full = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
const clock = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });

function tellTimes() {
  for (const t of main.querySelectorAll("time")) {
    const date = new Date(t.dateTime);
    if (t.classList.contains("ago")) {
      t.textContent = ago(date);
      t.title = full.format(date);
    } else {
      t.textContent = (t.dataset.form === "second" ? clock : full).format(date);
      t.title = t.dateTime;
    }
  }
}

let hide;
function say(text) {
  toast.textContent = text;
  clearTimeout(hide);
  hide = setTimeout(() => { toast.textContent = ""; }, 8000);
}

// Asking the server ---------------------------------------------------------------------------------------------------

async function ask(address, options) {
  const answer = await fetch(address, { ...options, cache: "no-store" });
  const body = await answer.json().catch(() => ({ error: `the server answered ${answer.status}` }));
  return { ok: answer.ok, body };
}

async function load() {
  const answer = await fetch(location.href, { cache: "no-store" });
  if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
  return new DOMParser().parseFromString(await answer.text(), "text/html");
}

// refresh takes the page's content anew from the server, and leaves focus and scrolling where they are.
async function refresh() {
  const fresh = (await load()).getElementById("main");
  const open = [...main.querySelectorAll("details[id][open]")].map((d) => d.id);
  const focused = main.contains(document.activeElement) ? document.activeElement.id : "";
  main.replaceChildren(...fresh.childNodes);
  for (const id of open) document.getElementById(id)?.setAttribute("open", "");
  if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
  begin();
}

// refreshLog does so with the log of a run only, at most every two seconds.
let logAt = 0;
async function refreshLog() {
  if (!main.querySelector("[data-log]") || Date.now() - logAt < 2000) return;
  logAt = Date.now();
  const fresh = (await load()).querySelector("[data-log]"), old = main.querySelector("[data-log]");
  if (!fresh || !old) return;
  old.replaceWith(fresh);
  fresh.querySelector(".log")?.scrollTo(0, 1e9);
  tellTimes();
}

// Runs ----------------------------------------------------------------------------------------------------------------

const followed = new Map(); // id of a run -> how to stop following it

function show(run) {
  const box = main.querySelector(`[data-live="${CSS.escape(run.id)}"]`);
  if (!box) return;
  if (box.dataset.state !== run.state) { // queued became running: the badge changes too
    refresh().catch(() => {});
    return;
  }
  const { bytes, total } = run.progress, set = (name, text) => {
    const e = box.querySelector(`[data-${name}]`);
    if (e.textContent !== text) e.textContent = text;
  };
  const bar = box.querySelector("[data-bar]");
  if (total) {
    bar.max = total;
    bar.value = Math.min(bytes, total);
    set("percent", Math.min(100, Math.floor(bytes * 100 / total)) + " %");
  }
  if (run.step) set("step", run.step);
  set("bytes", size(bytes));
  set("new", size(run.progress.new));
  const now = Date.now(), last = box.last ?? { at: now, bytes };
  if (now - last.at >= 900) {
    set("speed", size((bytes - last.bytes) * 1000 / (now - last.at)) + "/s");
    box.last = { at: now, bytes };
  } else {
    box.last = last;
  }
  if (run.started) set("elapsed", elapsed((now - new Date(run.started)) / 1000));
  refreshLog().catch(() => {});
}

const endings = { ok: "is done", suspect: "is done, but suspect", failed: "failed", cancelled: "was cancelled", interrupted: "was interrupted" };

function ended(run) {
  followed.get(run.id)?.();
  followed.delete(run.id);
  const kind = run.dry_run ? `The look before a ${run.kind}` : run.kind[0].toUpperCase() + run.kind.slice(1);
  say(`${kind} of ${run.job ?? run.repository} ${endings[run.state]}` + (run.unchanged ? ": nothing had changed." : "."));
  refresh().catch(() => say("The page could not be loaded anew."));
}

const running = (run) => run.state === "queued" || run.state === "running";
const tell = (run) => (running(run) ? show : ended)(run);

// follow listens to a run until it ends. Where events do not come through, it asks every second.
function follow(id) {
  if (followed.has(id)) return;
  const source = new EventSource(api + "runs/" + encodeURIComponent(id) + "/events");
  followed.set(id, () => source.close());
  source.addEventListener("run", (event) => tell(JSON.parse(event.data)));
  source.onerror = () => {
    source.close();
    poll(id);
  };
}

function poll(id) {
  if (!followed.has(id)) return;
  const timer = setInterval(async () => {
    try {
      const { ok, body } = await ask(api + "runs/" + encodeURIComponent(id));
      if (ok && followed.has(id)) tell(body);
    } catch { /* the server is away: maybe it comes back */ }
  }, 1000);
  followed.set(id, () => clearInterval(timer));
}

// Buttons -------------------------------------------------------------------------------------------------------------

document.addEventListener("submit", async (event) => {
  const form = event.target;
  if (!form.dataset.post) return;
  event.preventDefault();
  const button = form.querySelector("button");
  button.disabled = true;
  try {
    const { ok, body } = await ask(form.dataset.post, { method: "POST" });
    if (!ok && !body.run) say(body.error);
    await refresh();
  } catch (error) {
    say(`That did not work: ${error.message}`);
  }
  button.disabled = false;
});

// begun reports whether somebody is filling in a form, which must not be taken away.
function begun() {
  return [...main.querySelectorAll("input")].some((i) => i.checked !== i.defaultChecked || i.type !== "radio" && i.value !== i.defaultValue);
}

// Others start runs too: the schedule, the command line. What has changed is looked for while the page is seen.
let known;
async function look() {
  if (document.hidden || followed.size || begun()) return;
  const { ok, body } = await ask(api + "runs?limit=5");
  if (!ok) return;
  const now = body.runs.map((run) => run.id + run.state).join();
  if (known !== undefined && known !== now) await refresh();
  known = now;
}

function begin() {
  tellTimes();
  for (const box of main.querySelectorAll("[data-live]")) follow(box.dataset.live);
}

begin();
look().catch(() => {});
setInterval(() => look().catch(() => {}), 4000);
setInterval(tellTimes, 30000);
