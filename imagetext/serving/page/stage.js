// The area where a photo is added and shown, with regions highlighted.

import { showImage, showPhoto } from "/page/server.js";

export class Stage {
  // `changed` is called with {blob} or {id} whenever the photo changes.
  constructor(place, changed) {
    place.append(document.getElementById("stage").content.cloneNode(true));
    this.place = place;
    this.changed = changed;
    this.photo = null;
    const find = (name) => place.querySelector(name);
    [this.drop, this.figure, this.input] = [".drop", ".photo", "input"].map(find);
    [this.image, this.canvas, this.busyBar] = ["figure img", "canvas", ".busy"].map(find);
    this.drop.addEventListener("click", () => this.input.click());
    find(".another").addEventListener("click", () => this.input.click());
    this.input.addEventListener("change", () => {
      if (this.input.files[0]) this.setBlob(this.input.files[0]);
      this.input.value = "";
    });
    this.image.addEventListener("load", () => {
      this.image.classList.toggle("tiny", this.image.naturalWidth < 300);
    });
  }

  setBlob(blob) {
    this.show({ blob });
    showImage(this.image, blob);
    this.changed(this.photo);
  }

  setId(id) {
    this.show({ id });
    showPhoto(this.image, id, "large");
    this.changed(this.photo);
  }

  show(photo) {
    this.photo = photo;
    this.clearHighlight();
    this.drop.hidden = true;
    this.figure.hidden = false;
  }

  // Remove the photo, for example because it could not be read.
  clear() {
    this.photo = null;
    this.figure.hidden = true;
    this.drop.hidden = false;
    showImage(this.image, null);
  }

  setBusy(busy) {
    this.busyBar.hidden = !busy;
  }

  showExamples(ids) {
    const row = this.place.querySelector(".examples");
    row.hidden = !ids.length;
    row.querySelector("div").replaceChildren(
      ...ids.slice(0, 8).map((id, number) => {
        const button = document.createElement("button");
        const image = document.createElement("img");
        button.type = "button";
        button.setAttribute("aria-label", `Example ${number + 1}`);
        image.alt = "";
        showPhoto(image, id);
        button.append(image);
        button.addEventListener("click", () => this.setId(id));
        return button;
      }),
    );
  }

  clearHighlight() {
    this.canvas.classList.remove("highlighted");
  }

  // Highlight cells, given as rows of numbers: the largest is brightest, and zero is dimmed.
  // With `signed`, negative cells are tinted blue.
  highlight(cells, signed = false) {
    const most = Math.max(1e-9, ...cells.flat().map((value) => (signed ? Math.abs(value) : value)));
    const [rows, columns] = [cells.length, cells[0].length];
    const small = new OffscreenCanvas(columns, rows);
    const pixels = new ImageData(columns, rows);
    cells.flat().forEach((value, place) => {
      const heat = Math.max(0, value / most);
      const cold = signed ? Math.max(0, -value / most) : 0;
      const [r, g, b] = cold > 0.15 ? [40, 70, 150] : mix([8, 11, 18], [255, 150, 40], heat);
      pixels.data.set([r, g, b, 255 * (0.74 - 0.6 * heat)], place * 4);
    });
    small.getContext("2d").putImageData(pixels, 0, 0);
    this.canvas.width = this.image.clientWidth;
    this.canvas.height = this.image.clientHeight;
    const pen = this.canvas.getContext("2d");
    pen.imageSmoothingQuality = "high";
    pen.clearRect(0, 0, this.canvas.width, this.canvas.height);
    // Interpolates between the centres of the cells.
    pen.drawImage(small, 0, 0, this.canvas.width, this.canvas.height);
    this.canvas.classList.add("highlighted");
  }
}

const mix = (from, to, share) => from.map((value, place) => value + share * (to[place] - value));
