// The page: tabs, the progress of loading, dropped and pasted photos, and error messages.

import { about, examples, NeedsToken, rememberToken, readTokenFromLink } from "/page/server.js";
import { captionTab } from "/page/caption.js";
import { matchTab } from "/page/match.js";
import { searchTab } from "/page/search.js";

const ORDER = ["caption", "search", "match"];
const notice = document.getElementById("notice");
const overlay = document.getElementById("drop-overlay");
const tab = (name) => document.getElementById(`tab-${name}`);
const panel = (name) => document.getElementById(name);

const stages = {
  caption: captionTab(showError),
  match: matchTab(showError),
  search: searchTab(showError, (name, id) => {
    openTab(name);
    stages[name].setId(id);
  }),
};
let served = [];
let current = null;
let hasExamples = false;

function showError(error) {
  notice.hidden = !error;
  if (!error) return;
  if (error instanceof NeedsToken) panel("token").hidden = false;
  notice.querySelector("p").textContent = error.message;
  notice.scrollIntoView({ block: "nearest" });
}

function openTab(name, focus = false) {
  if (!served.includes(name)) return;
  current = name;
  showError();
  for (const each of ORDER) {
    const chosen = each === name;
    tab(each).setAttribute("aria-selected", chosen);
    tab(each).tabIndex = chosen ? 0 : -1;
    panel(each).hidden = !chosen;
  }
  history.replaceState(null, "", `#${name}`);
  if (focus) tab(name).focus();
}

for (const name of ORDER) tab(name).addEventListener("click", () => openTab(name));
document.querySelector(".tabs").addEventListener("keydown", (event) => {
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (!step) return;
  const place = (served.indexOf(current) + step + served.length) % served.length;
  openTab(served[place], true);
});
addEventListener("hashchange", () => openTab(location.hash.slice(1)));
notice.querySelector("button").addEventListener("click", () => showError());

// ---- photos dropped anywhere on the page, or pasted

const addPhoto = (files) => {
  const photo = [...(files ?? [])][0];
  if (photo && current) stages[current].setBlob(photo);
};
const holdsFiles = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
let depth = 0;
addEventListener("dragenter", (event) => {
  if (!holdsFiles(event)) return;
  depth += 1;
  overlay.hidden = false;
});
addEventListener("dragleave", (event) => {
  if (!holdsFiles(event)) return;
  depth -= 1;
  if (depth <= 0) overlay.hidden = true;
});
addEventListener("dragover", (event) => { if (holdsFiles(event)) event.preventDefault(); });
addEventListener("drop", (event) => {
  depth = 0;
  overlay.hidden = true;
  if (!holdsFiles(event)) return;
  event.preventDefault();
  addPhoto(event.dataTransfer.files);
});
addEventListener("paste", (event) => {
  if (!event.clipboardData?.files.length) return;
  event.preventDefault();
  addPhoto(event.clipboardData.files);
});

// ---- what the server offers, and the progress of loading

function progress(part) {
  const box = panel(part.name).querySelector(".loading");
  const loading = part.state === "waiting" || part.state === "loading";
  box.hidden = part.state === "ready" && !part.message;
  box.classList.toggle("note", part.state === "ready");
  box.classList.toggle("failed", part.state === "failed");
  const [line, text, percent] = ["p", "span", "span"].map((name) => document.createElement(name));
  const message = part.state === "failed" ? `the model ${part.message}` : part.message;
  text.textContent = message.charAt(0).toUpperCase() + message.slice(1);
  percent.textContent = loading ? `${Math.round(100 * part.done)}%` : "";
  line.append(text, percent);
  const bar = document.createElement("progress");
  bar.value = part.done;
  bar.setAttribute("aria-label", "Loading");
  box.replaceChildren(line, ...(loading ? [bar] : []));
}

async function loadExamples() {
  try {
    const { photos, sentences } = await examples();
    if (served.includes("caption")) stages.caption.showExamples(photos);
    if (served.includes("search")) {
      stages.search.suggest(sentences);
      stages.search.showExamples(photos);
    }
    if (served.includes("match")) {
      stages.match.showExamples(photos);
      stages.match.suggest(sentences);
    }
    hasExamples = photos.length > 0;
    panel("token").hidden = true;
  } catch (error) {
    showError(error);
  }
}

async function watch() {
  let state;
  try {
    state = await about();
  } catch (error) {
    showError(error);
    setTimeout(watch, 3000);
    return;
  }
  const canSearch = state.parts.some((part) => part.name === "search" && part.state === "ready");
  if (!current) {
    served = ORDER.filter((name) => state.parts.some((part) => part.name === name));
    for (const name of served) tab(name).hidden = false;
    for (const act of document.querySelectorAll("[data-act]")) {
      act.hidden = act.dataset.act !== "similar" && !served.includes(act.dataset.act);
    }
    const wanted = location.hash.slice(1);
    if (served.length) openTab(served.includes(wanted) ? wanted : served[0]);
    loadExamples();
  } else if (canSearch && !hasExamples) {
    loadExamples(); // from the index, which is ready now
  }
  state.parts.forEach(progress);
  if (state.parts.some((part) => part.state === "waiting" || part.state === "loading")) {
    setTimeout(watch, 700);
  }
}

panel("token").addEventListener("submit", (event) => {
  event.preventDefault();
  rememberToken(panel("token").querySelector("input").value.trim());
  showError();
  loadExamples();
});

readTokenFromLink();
watch();
