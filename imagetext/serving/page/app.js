// The page: tabs, what is loading, photos dropped or pasted anywhere, and errors in words.

import { about, examples, NeedsToken, rememberToken, tokenOfLink } from "/page/server.js";
import { captionTab } from "/page/caption.js";
import { matchTab } from "/page/match.js";
import { searchTab } from "/page/search.js";

const ORDER = ["caption", "search", "match"];
const notice = document.getElementById("notice");
const veil = document.getElementById("veil");
const tab = (name) => document.getElementById(`tab-${name}`);
const panel = (name) => document.getElementById(name);

const stages = {
  caption: captionTab(complain),
  match: matchTab(complain),
  search: searchTab(complain, (name, id) => {
    open(name);
    stages[name].takeId(id);
  }),
};
let served = [];
let current = null;
let offered = false;

function complain(error) {
  notice.hidden = !error;
  if (!error) return;
  if (error instanceof NeedsToken) panel("token").hidden = false;
  notice.querySelector("p").textContent = error.message;
  notice.scrollIntoView({ block: "nearest" });
}

function open(name, focus = false) {
  if (!served.includes(name)) return;
  current = name;
  complain();
  for (const each of ORDER) {
    const chosen = each === name;
    tab(each).setAttribute("aria-selected", chosen);
    tab(each).tabIndex = chosen ? 0 : -1;
    panel(each).hidden = !chosen;
  }
  history.replaceState(null, "", `#${name}`);
  if (focus) tab(name).focus();
}

for (const name of ORDER) tab(name).addEventListener("click", () => open(name));
document.querySelector(".tabs").addEventListener("keydown", (event) => {
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (!step) return;
  const place = (served.indexOf(current) + step + served.length) % served.length;
  open(served[place], true);
});
addEventListener("hashchange", () => open(location.hash.slice(1)));
notice.querySelector("button").addEventListener("click", () => complain());

// ---- photos from anywhere: dropped on the page, or pasted

const takes = (files) => {
  const photo = [...(files ?? [])][0];
  if (photo && current) stages[current].take(photo);
};
const holdsFiles = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
let over = 0;
addEventListener("dragenter", (event) => {
  if (!holdsFiles(event)) return;
  over += 1;
  veil.hidden = false;
});
addEventListener("dragleave", (event) => {
  if (!holdsFiles(event)) return;
  over -= 1;
  if (over <= 0) veil.hidden = true;
});
addEventListener("dragover", (event) => { if (holdsFiles(event)) event.preventDefault(); });
addEventListener("drop", (event) => {
  over = 0;
  veil.hidden = true;
  if (!holdsFiles(event)) return;
  event.preventDefault();
  takes(event.dataTransfer.files);
});
addEventListener("paste", (event) => {
  if (!event.clipboardData?.files.length) return;
  event.preventDefault();
  takes(event.clipboardData.files);
});

// ---- what is served, and how far it is loaded

function progress(part) {
  const box = panel(part.name).querySelector(".loading");
  const waits = part.state === "waiting" || part.state === "loading";
  box.hidden = part.state === "ready" && !part.told;
  box.classList.toggle("note", part.state === "ready");
  box.classList.toggle("failed", part.state === "failed");
  const [line, what, share] = ["p", "span", "span"].map((name) => document.createElement(name));
  const told = part.state === "failed" ? `the model ${part.told}` : part.told;
  what.textContent = told.charAt(0).toUpperCase() + told.slice(1);
  share.textContent = waits ? `${Math.round(100 * part.done)} %` : "";
  line.append(what, share);
  const bar = document.createElement("progress");
  bar.value = part.done;
  bar.setAttribute("aria-label", "Loading");
  box.replaceChildren(line, ...(waits ? [bar] : []));
}

async function offer() {
  try {
    const found = await examples();
    if (served.includes("caption")) stages.caption.offer(found.photos);
    if (served.includes("search")) {
      stages.search.suggest(found.sentences);
      stages.search.offer(found.photos);
    }
    if (served.includes("match")) {
      stages.match.offer(found.photos);
      stages.match.suggest(found.sentences);
    }
    offered = found.photos.length > 0;
    panel("token").hidden = true;
  } catch (error) {
    complain(error);
  }
}

async function watch() {
  let state;
  try {
    state = await about();
  } catch (error) {
    complain(error);
    setTimeout(watch, 3000);
    return;
  }
  const finds = state.parts.some((part) => part.name === "search" && part.state === "ready");
  if (!current) {
    served = ORDER.filter((name) => state.parts.some((part) => part.name === name));
    for (const name of served) tab(name).hidden = false;
    for (const act of document.querySelectorAll("[data-act]")) {
      act.hidden = act.dataset.act !== "alike" && !served.includes(act.dataset.act);
    }
    const asked = location.hash.slice(1);
    if (served.length) open(served.includes(asked) ? asked : served[0]);
    offer();
  } else if (finds && !offered) {
    offer(); // some of the index, now that it is there
  }
  state.parts.forEach(progress);
  if (state.parts.some((part) => part.state === "waiting" || part.state === "loading")) {
    setTimeout(watch, 700);
  }
}

panel("token").addEventListener("submit", (event) => {
  event.preventDefault();
  rememberToken(panel("token").querySelector("input").value.trim());
  complain();
  offer();
});

tokenOfLink();
watch();
