// The tab that says how well a sentence fits a photo, and which parts spoke for it.

import { ask, chips } from "/page/server.js";
import { Stage } from "/page/stage.js";

const panel = document.getElementById("match");
const form = document.getElementById("ask");
const claim = document.getElementById("claim");
const asking = document.getElementById("asking");
const verdict = document.getElementById("verdict");
const regions = document.getElementById("regions");
const spoke = document.getElementById("spoke");

export function matchTab(complain) {
  let asked = 0;
  let parts = null;

  const stage = new Stage(panel.querySelector("[data-stage]"), () => {
    forget();
    if (claim.value.trim()) match();
    else claim.focus();
  });

  // What was found holds for another photo or sentence; what is still asked will not be heard.
  function forget() {
    asked += 1;
    parts = null;
    verdict.hidden = true;
    asking.textContent = "";
    stage.dark();
    stage.busy(false);
  }

  async function match() {
    const text = claim.value.trim();
    if (!stage.photo) return complain(new Error("Please drop or pick a photo first."));
    if (!text) return claim.focus();
    const mine = (asked += 1);
    complain();
    stage.dark();
    stage.busy(true);
    parts = null;
    asking.textContent = "Comparing…";
    try {
      const photo = stage.photo;
      const answer = await ask("match", { photo, text });
      if (mine !== asked) return;
      show(answer);
      if (regions.checked) await look(photo, text, mine);
    } catch (error) {
      if (mine !== asked) return;
      verdict.hidden = true;
      if (!stage.image.naturalWidth) stage.clear();
      complain(error);
    } finally {
      if (mine === asked) {
        stage.busy(false);
        asking.textContent = "";
      }
    }
  }

  async function look(photo, text, mine) {
    spoke.textContent = "covering the photo part by part…";
    const answer = await ask("match", { photo, text, regions: true });
    if (mine !== asked) return;
    parts = answer.regions;
    light();
  }

  function light() {
    const told = Math.max(...parts.effect.flat()) > 0.02;
    spoke.textContent = told
      ? `With the brightest part covered it would be ${shown(parts.covered)}. Blue parts spoke against it.`
      : "No single part spoke for it.";
    if (regions.checked && told) stage.light(parts.effect, true);
    else stage.dark();
  }

  function show({ probability }) {
    const fits = probability >= 0.5;
    verdict.hidden = false;
    spoke.textContent = "";
    verdict.querySelector(".big").className = `big ${fits ? "fits" : "misfits"}`;
    document.getElementById("percent").textContent = shown(probability);
    document.getElementById("says").textContent = fits ? "It fits the photo" : "It does not fit";
    const gauge = verdict.querySelector(".gauge");
    gauge.setAttribute("aria-label", `${shown(probability)} likely to fit`);
    gauge.querySelector("b").style.left = `${(2 + 96 * probability).toFixed(1)}%`;
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    match();
  });
  claim.addEventListener("input", forget);
  claim.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey) return;
    event.preventDefault();
    match();
  });
  regions.addEventListener("change", () => {
    if (parts) light();
    else if (regions.checked && !verdict.hidden) match();
  });

  stage.suggest = (sentences) => {
    chips(document.getElementById("ideas"), sentences, (sentence) => {
      claim.value = sentence;
      forget();
      if (stage.photo) match();
    });
  };
  return stage;
}

// 99.96 % is not 100 %.
const shown = (p) => (p > 0.999 ? "> 99.9 %" : p < 0.001 ? "< 0.1 %" : `${(100 * p).toFixed(p > 0.99 || p < 0.1 ? 1 : 0)} %`);
