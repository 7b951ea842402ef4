// The tab that finds photos by text, by a photo, or by both, and the dialog that shows a result.

import { request, showImage, showPhoto, showSuggestions } from "/page/server.js";

const panel = document.getElementById("search");
const form = panel.querySelector("form");
const [query, without, top] = ["query", "without", "top"].map((id) => document.getElementById(id));
const [chip, results, status] = ["chip", "results", "search-status"].map((id) => document.getElementById(id));
const file = document.getElementById("search-file");
const large = document.getElementById("large");

export function searchTab(showError, openTab) {
  let photo = null;
  let shown = [];
  let at = 0;
  let running = null;
  let example = query.placeholder;

  async function search() {
    if (!photo && !query.value.trim() && !without.value.trim()) {
      query.focus();
      return;
    }
    running?.abort();
    running = new AbortController();
    const mine = running;
    showError();
    status.textContent = "Searching…";
    const start = performance.now();
    const fields = { text: query.value.trim(), without: without.value.trim(), photo, top: top.value };
    try {
      const answer = await request("search", fields, mine.signal);
      const time = Math.round(performance.now() - start);
      panel.classList.add("answered");
      status.textContent = `Top ${answer.hits.length} of ${answer.photos.toLocaleString("en")} photos in ${time} ms`;
      show(answer.hits);
    } catch (error) {
      if (error.name === "AbortError") return;
      status.textContent = "";
      if (photo?.blob) attach(null);
      showError(error);
    }
  }

  function show(hits) {
    shown = hits;
    results.replaceChildren(
      ...shown.map((hit, place) => {
        const [button, image, score] = ["button", "img", "span"].map((n) => document.createElement(n));
        image.alt = hit.captions[0] ?? "A photo";
        image.loading = "lazy";
        image.addEventListener("load", () => fit(image));
        showPhoto(image, hit.id);
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

  // Small drawings are shown whole instead of being cropped like photos.
  function fit(image) {
    image.classList.toggle("tiny", Math.max(image.naturalWidth, image.naturalHeight) < 300);
  }
  large.querySelector("img").addEventListener("load", (event) => fit(event.target));

  // Set the photo to search by: {blob}, {id}, or null.
  function attach(newPhoto) {
    photo = newPhoto;
    chip.hidden = !photo;
    const image = chip.querySelector("img");
    if (photo?.id) showPhoto(image, photo.id);
    else showImage(image, photo?.blob);
    query.placeholder = photo ? "add some text" : example;
  }

  function enlarge(place) {
    at = (place + shown.length) % shown.length;
    const hit = shown[at];
    const image = large.querySelector("img");
    image.alt = hit.captions[0] ?? "A photo";
    showPhoto(image, hit.id, "large");
    large.querySelector("figcaption").replaceChildren(
      ...hit.captions.map((caption) => {
        const line = document.createElement("p");
        line.textContent = caption;
        return line;
      }),
    );
    for (const step of large.querySelectorAll(".step")) step.hidden = shown.length < 2;
    if (!large.open) large.showModal();
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    search();
  });
  document.getElementById("attach").addEventListener("click", () => file.click());
  file.addEventListener("change", () => {
    if (file.files[0]) setBlob(file.files[0]);
    file.value = "";
  });
  chip.querySelector("button").addEventListener("click", () => {
    attach(null);
    query.focus();
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
    if (act !== "similar") return openTab(act, shown[at].id);
    query.value = "";
    attach({ id: shown[at].id });
    search();
    scrollTo({ top: 0, behavior: "smooth" });
  });

  function setBlob(blob) {
    attach({ blob });
    search();
  }

  function suggest(sentences) {
    if (!sentences.length) return;
    example = sentences[0];
    if (!photo) query.placeholder = example;
    without.placeholder = "";
    showSuggestions(document.getElementById("search-suggestions"), sentences, (sentence) => {
      query.value = sentence;
      search();
    });
  }

  // Photos to start with, until the first search.
  function showExamples(ids) {
    if (!shown.length && !running) show(ids.map((id) => ({ id, captions: [], score: null })));
  }

  return { setBlob, suggest, showExamples };
}
