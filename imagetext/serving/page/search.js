// The tab that finds photos: by words, by a photo, by both; and what can be done with a find.

import { ask, chips, picture, shows } from "/page/server.js";

const panel = document.getElementById("search");
const form = panel.querySelector("form");
const [words, without, top] = ["words", "without", "top"].map((id) => document.getElementById(id));
const [chip, hits, told] = ["chip", "hits", "told"].map((id) => document.getElementById(id));
const file = document.getElementById("search-file");
const large = document.getElementById("large");

export function searchTab(complain, go) {
  let photo = null;
  let found = [];
  let at = 0;
  let running = null;
  let example = words.placeholder;

  async function search() {
    if (!photo && !words.value.trim() && !without.value.trim()) {
      words.focus();
      return;
    }
    running?.abort();
    running = new AbortController();
    const mine = running;
    complain();
    told.textContent = "Searching…";
    const began = performance.now();
    const fields = { text: words.value.trim(), without: without.value.trim(), photo, top: top.value };
    try {
      const answer = await ask("search", fields, mine.signal);
      const time = Math.round(performance.now() - began);
      panel.classList.add("answered");
      told.textContent = `best ${answer.hits.length} of ${answer.photos.toLocaleString("en")} in ${time} ms`;
      show(answer.hits);
    } catch (error) {
      if (error.name === "AbortError") return;
      told.textContent = "";
      if (photo?.blob) attach(null);
      complain(error);
    }
  }

  function show(answer) {
    found = answer;
    hits.replaceChildren(
      ...found.map((hit, place) => {
        const [button, image, score] = ["button", "img", "span"].map((n) => document.createElement(n));
        image.alt = hit.captions[0] ?? "A photo";
        image.loading = "lazy";
        image.addEventListener("load", () => sized(image));
        picture(image, hit.id);
        score.textContent = hit.score?.toFixed(3) ?? "";
        score.hidden = !score.textContent;
        button.title = hit.captions[0] ?? "";
        button.style.animationDelay = `${Math.min(place, 16) * 18}ms`;
        button.append(image, score);
        button.addEventListener("click", () => enlarge(place));
        return button;
      }),
    );
  }

  // Small drawings are shown whole, and not cut to the shape of photos.
  function sized(image) {
    image.classList.toggle("tiny", Math.max(image.naturalWidth, image.naturalHeight) < 300);
  }
  large.querySelector("img").addEventListener("load", (event) => sized(event.target));

  // Another photo to search by: {blob}, {id}, or null.
  function attach(another) {
    photo = another;
    chip.hidden = !photo;
    const image = chip.querySelector("img");
    if (photo?.id) picture(image, photo.id);
    else shows(image, photo?.blob);
    words.placeholder = photo ? "and words?" : example;
  }

  function enlarge(place) {
    at = (place + found.length) % found.length;
    const hit = found[at];
    const image = large.querySelector("img");
    image.alt = hit.captions[0] ?? "A photo";
    picture(image, hit.id, "large");
    large.querySelector("figcaption").replaceChildren(
      ...hit.captions.map((caption) => {
        const line = document.createElement("p");
        line.textContent = caption;
        return line;
      }),
    );
    for (const step of large.querySelectorAll(".step")) step.hidden = found.length < 2;
    if (!large.open) large.showModal();
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    search();
  });
  document.getElementById("attach").addEventListener("click", () => file.click());
  file.addEventListener("change", () => {
    if (file.files[0]) take(file.files[0]);
    file.value = "";
  });
  chip.querySelector("button").addEventListener("click", () => {
    attach(null);
    words.focus();
  });
  large.querySelector(".close").addEventListener("click", () => large.close());
  large.querySelector(".back").addEventListener("click", () => enlarge(at - 1));
  large.querySelector(".next").addEventListener("click", () => enlarge(at + 1));
  large.addEventListener("keydown", (event) => {
    if (event.key === "ArrowLeft") enlarge(at - 1);
    if (event.key === "ArrowRight") enlarge(at + 1);
  });
  large.addEventListener("click", (event) => {
    if (event.target === large) large.close();
    const act = event.target.dataset?.act;
    if (!act) return;
    large.close();
    if (act !== "alike") return go(act, found[at].id);
    words.value = "";
    attach({ id: found[at].id });
    search();
    scrollTo({ top: 0, behavior: "smooth" });
  });

  function take(blob) {
    attach({ blob });
    search();
  }

  function suggest(sentences) {
    if (!sentences.length) return;
    example = sentences[0];
    if (!photo) words.placeholder = example;
    without.placeholder = "";
    chips(document.getElementById("tries"), sentences, (sentence) => {
      words.value = sentence;
      search();
    });
  }

  // Photos to begin with, until something is looked for.
  function offer(ids) {
    if (!found.length && !running) show(ids.map((id) => ({ id, captions: [], score: null })));
  }

  return { take, suggest, offer };
}
