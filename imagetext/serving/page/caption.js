// The tab that describes a photo, and shows where the model looked at each word.

import { ask } from "/page/server.js";
import { Stage } from "/page/stage.js";

const panel = document.getElementById("caption");
const sentence = document.getElementById("sentence");
const list = document.getElementById("captions");
const play = document.getElementById("play");
const hint = document.getElementById("hint");

export function captionTab(complain) {
  let asked = 0;
  let chosen = null;
  let playing = null;

  const stage = new Stage(panel.querySelector("[data-stage]"), describe);

  async function describe(photo) {
    const mine = (asked += 1);
    complain();
    stop();
    panel.querySelector(".found").hidden = true;
    panel.querySelector(".empty").hidden = false;
    panel.querySelector(".empty p").textContent = "Looking…";
    stage.busy(true);
    try {
      const { captions } = await ask("caption", { photo, top: 5, maps: true });
      if (mine === asked) show(captions);
    } catch (error) {
      if (mine !== asked) return;
      stage.clear();
      panel.querySelector(".empty p").textContent = "The captions will stand here.";
      complain(error);
    } finally {
      if (mine === asked) stage.busy(false);
    }
  }

  function show(captions) {
    panel.querySelector(".empty").hidden = captions.length > 0;
    panel.querySelector(".empty p").textContent = "The model has no words for this photo.";
    panel.querySelector(".found").hidden = !captions.length;
    const best = Math.max(...captions.map((caption) => caption.score));
    list.replaceChildren(
      ...captions.map((caption) => {
        const [item, button] = ["li", "button"].map((name) => document.createElement(name));
        const [text, score, bar] = ["span", "em", "i"].map((name) => document.createElement(name));
        text.textContent = caption.text;
        score.textContent = caption.score.toFixed(2).replace("-", "−");
        score.title = `log probability by length ${caption.score.toFixed(3)}, in all ${caption.log_probability.toFixed(3)}`;
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
    const looks = caption.words.some((word) => word.map);
    play.hidden = !looks;
    hint.textContent = looks ? "or rest on a word" : "This model takes a photo whole.";
    sentence.replaceChildren(...(looks ? words(caption) : [caption.text]));
  }

  function words(caption) {
    return caption.words.flatMap(({ word, map }, place) => {
      const button = document.createElement("button");
      button.className = "word";
      button.textContent = word;
      button.title = `Where the model looked for “${word}”`;
      const on = () => light(button, map);
      button.addEventListener("mouseenter", () => { stop(); on(); });
      button.addEventListener("focus", on);
      button.addEventListener("click", () => { stop(); on(); });
      button.addEventListener("mouseleave", unlight);
      button.addEventListener("blur", unlight);
      return place ? [" ", button] : [button];
    });
  }

  function light(button, map) {
    for (const each of sentence.querySelectorAll(".lit")) each.classList.remove("lit");
    button.classList.add("lit");
    stage.light(map);
  }

  function unlight() {
    for (const each of sentence.querySelectorAll(".lit")) each.classList.remove("lit");
    stage.dark();
  }

  function stop() {
    if (playing === null) return;
    clearInterval(playing);
    playing = null;
    play.textContent = "▶ Word by word";
    unlight();
  }

  play.addEventListener("click", () => {
    if (playing !== null) return stop();
    const buttons = [...sentence.querySelectorAll(".word")];
    let place = 0;
    const next = () => {
      if (place === buttons.length) return stop();
      light(buttons[place], chosen.words[place].map);
      place += 1;
    };
    play.textContent = "■ Stop";
    playing = setInterval(next, 900);
    next();
  });

  return stage;
}
