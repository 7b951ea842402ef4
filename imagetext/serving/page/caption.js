// The tab that describes a photo and shows where the model was looking at each word.

import { request } from "/page/server.js";
import { Stage } from "/page/stage.js";

const panel = document.getElementById("caption");
const sentence = document.getElementById("sentence");
const list = document.getElementById("captions");
const play = document.getElementById("play");
const hint = document.getElementById("hint");

export function captionTab(showError) {
  let requests = 0;
  let chosen = null;
  let playing = null;

  const stage = new Stage(panel.querySelector("[data-stage]"), describe);

  async function describe(photo) {
    const mine = (requests += 1);
    showError();
    stop();
    panel.querySelector(".result").hidden = true;
    panel.querySelector(".empty").hidden = false;
    panel.querySelector(".empty p").textContent = "Describing the photo…";
    stage.setBusy(true);
    try {
      const { captions } = await request("caption", { photo, top: 5, maps: true });
      if (mine === requests) show(captions);
    } catch (error) {
      if (mine !== requests) return;
      stage.clear();
      panel.querySelector(".empty p").textContent = "Captions appear here.";
      showError(error);
    } finally {
      if (mine === requests) stage.setBusy(false);
    }
  }

  function show(captions) {
    panel.querySelector(".empty").hidden = captions.length > 0;
    panel.querySelector(".empty p").textContent = "The model has no caption for this photo.";
    panel.querySelector(".result").hidden = !captions.length;
    const best = Math.max(...captions.map((caption) => caption.score));
    list.replaceChildren(
      ...captions.map((caption) => {
        const [item, button] = ["li", "button"].map((name) => document.createElement(name));
        const [text, score, bar] = ["span", "em", "i"].map((name) => document.createElement(name));
        text.textContent = caption.text;
        score.textContent = caption.score.toFixed(2).replace("-", "−");
        score.title = `Log probability: ${caption.log_probability.toFixed(3)}; length-normalised: ${caption.score.toFixed(3)}`;
        bar.style.width = `calc((100% - 1.6rem) * ${Math.exp(2 * (caption.score - best)).toFixed(3)})`;
        button.append(text, score, bar);
        button.addEventListener("click", () => choose(caption, button));
        item.append(button);
        return item;
      }),
    );
    if (captions.length) choose(captions[0], list.querySelector("button"));
  }

  function choose(caption, button) {
    stop();
    chosen = caption;
    for (const each of list.querySelectorAll("button")) {
      each.setAttribute("aria-pressed", each === button);
    }
    const hasMaps = caption.words.some((word) => word.map);
    play.hidden = !hasMaps;
    hint.textContent = hasMaps ? "or hover over a word" : "This model has no attention maps.";
    sentence.replaceChildren(...(hasMaps ? words(caption) : [caption.text]));
  }

  function words(caption) {
    return caption.words.flatMap(({ word, map }, place) => {
      const button = document.createElement("button");
      button.className = "word";
      button.textContent = word;
      button.title = `Where the model was looking at “${word}”`;
      const show = () => highlight(button, map);
      button.addEventListener("mouseenter", () => { stop(); show(); });
      button.addEventListener("focus", show);
      button.addEventListener("click", () => { stop(); show(); });
      button.addEventListener("mouseleave", clearHighlight);
      button.addEventListener("blur", clearHighlight);
      return place ? [" ", button] : [button];
    });
  }

  function highlight(button, map) {
    for (const each of sentence.querySelectorAll(".highlighted")) each.classList.remove("highlighted");
    button.classList.add("highlighted");
    stage.highlight(map);
  }

  function clearHighlight() {
    for (const each of sentence.querySelectorAll(".highlighted")) each.classList.remove("highlighted");
    stage.clearHighlight();
  }

  function stop() {
    if (playing === null) return;
    clearInterval(playing);
    playing = null;
    play.textContent = "▶ Play word by word";
    clearHighlight();
  }

  play.addEventListener("click", () => {
    if (playing !== null) return stop();
    const buttons = [...sentence.querySelectorAll(".word")];
    let place = 0;
    const next = () => {
      if (place === buttons.length) return stop();
      highlight(buttons[place], chosen.words[place].map);
      place += 1;
    };
    play.textContent = "■ Stop";
    playing = setInterval(next, 900);
    next();
  });

  return stage;
}
