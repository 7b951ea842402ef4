// The tab that checks whether a sentence matches a photo, and shows which parts support it.

import { request, showSuggestions } from "/page/server.js";
import { Stage } from "/page/stage.js";

const panel = document.getElementById("match");
const form = document.getElementById("ask");
const sentence = document.getElementById("match-text");
const status = document.getElementById("match-status");
const verdict = document.getElementById("verdict");
const regions = document.getElementById("regions");
const explanation = document.getElementById("explanation");

export function matchTab(showError) {
  let requests = 0;
  let parts = null;

  const stage = new Stage(panel.querySelector("[data-stage]"), () => {
    reset();
    if (sentence.value.trim()) match();
    else sentence.focus();
  });

  // The photo or sentence has changed: hide the result and ignore pending responses.
  function reset() {
    requests += 1;
    parts = null;
    verdict.hidden = true;
    status.textContent = "";
    stage.clearHighlight();
    stage.setBusy(false);
  }

  async function match() {
    const text = sentence.value.trim();
    if (!stage.photo) return showError(new Error("Please add a photo first."));
    if (!text) return sentence.focus();
    const mine = (requests += 1);
    showError();
    stage.clearHighlight();
    stage.setBusy(true);
    parts = null;
    status.textContent = "Checking…";
    try {
      const photo = stage.photo;
      const answer = await request("match", { photo, text });
      if (mine !== requests) return;
      show(answer);
      if (regions.checked) await explain(photo, text, mine);
    } catch (error) {
      if (mine !== requests) return;
      verdict.hidden = true;
      if (!stage.image.naturalWidth) stage.clear();
      showError(error);
    } finally {
      if (mine === requests) {
        stage.setBusy(false);
        status.textContent = "";
      }
    }
  }

  async function explain(photo, text, mine) {
    explanation.textContent = "Computing regions…";
    const answer = await request("match", { photo, text, regions: true });
    if (mine !== requests) return;
    parts = answer.regions;
    highlight();
  }

  function highlight() {
    const supported = Math.max(...parts.effect.flat()) > 0.02;
    explanation.textContent = supported
      ? `Bright regions support the sentence, blue ones contradict it. With the most important region covered, the probability is ${percent(parts.covered)}.`
      : "No single region supports the sentence.";
    if (regions.checked && supported) stage.highlight(parts.effect, true);
    else stage.clearHighlight();
  }

  function show({ probability }) {
    const matches = probability >= 0.5;
    verdict.hidden = false;
    explanation.textContent = "";
    verdict.querySelector(".big").className = `big ${matches ? "matches" : "differs"}`;
    document.getElementById("percent").textContent = percent(probability);
    document.getElementById("verdict-text").textContent = matches ? "Match" : "No match";
    const gauge = verdict.querySelector(".gauge");
    gauge.setAttribute("aria-label", `Probability of a match: ${percent(probability)}`);
    gauge.querySelector("b").style.left = `${(2 + 96 * probability).toFixed(1)}%`;
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    match();
  });
  sentence.addEventListener("input", reset);
  sentence.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey) return;
    event.preventDefault();
    match();
  });
  regions.addEventListener("change", () => {
    if (parts) highlight();
    else if (regions.checked && !verdict.hidden) match();
  });

  stage.suggest = (sentences) => {
    showSuggestions(document.getElementById("match-suggestions"), sentences, (chosen) => {
      sentence.value = chosen;
      reset();
      if (stage.photo) match();
    });
  };
  return stage;
}

// Never rounds to 0% or 100%.
const percent = (p) =>
  p > 0.999 ? "> 99.9%" : p < 0.001 ? "< 0.1%" : `${(100 * p).toFixed(p > 0.99 || p < 0.1 ? 1 : 0)}%`;
