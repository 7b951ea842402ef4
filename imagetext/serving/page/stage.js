// Where a photo is dropped, pasted or picked, shown, and lit part by part.

import { picture, shows } from "/page/server.js";

export class Stage {
  // `changed` is called with {blob} or {id} whenever there is another photo.
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
      if (this.input.files[0]) this.take(this.input.files[0]);
      this.input.value = "";
    });
    this.image.addEventListener("load", () => {
      this.image.classList.toggle("tiny", this.image.naturalWidth < 300);
    });
  }

  take(blob) {
    this.show({ blob });
    shows(this.image, blob);
    this.changed(this.photo);
  }

  takeId(id) {
    this.show({ id });
    picture(this.image, id, "large");
    this.changed(this.photo);
  }

  show(photo) {
    this.photo = photo;
    this.dark();
    this.drop.hidden = true;
    this.figure.hidden = false;
  }

  // Back to the empty stage, as after a file that was no photo.
  clear() {
    this.photo = null;
    this.figure.hidden = true;
    this.drop.hidden = false;
    shows(this.image, null);
  }

  busy(yes) {
    this.busyBar.hidden = !yes;
  }

  offer(ids) {
    const row = this.place.querySelector(".examples");
    row.hidden = !ids.length;
    row.querySelector("div").replaceChildren(
      ...ids.slice(0, 8).map((id, number) => {
        const button = document.createElement("button");
        const image = document.createElement("img");
        button.type = "button";
        button.setAttribute("aria-label", `Example ${number + 1}`);
        image.alt = "";
        picture(image, id);
        button.append(image);
        button.addEventListener("click", () => this.takeId(id));
        return button;
      }),
    );
  }

  dark() {
    this.canvas.classList.remove("lit");
  }

  // `cells`, rows of numbers: the largest is fully lit, nothing at all is dim. What is negative
  // spoke against, and is tinted coldly where `both` is asked for.
  light(cells, both = false) {
    const most = Math.max(1e-9, ...cells.flat().map((value) => (both ? Math.abs(value) : value)));
    const [rows, columns] = [cells.length, cells[0].length];
    const small = new OffscreenCanvas(columns, rows);
    const pixels = new ImageData(columns, rows);
    cells.flat().forEach((value, place) => {
      const heat = Math.max(0, value / most);
      const cold = both ? Math.max(0, -value / most) : 0;
      const [r, g, b] = cold > 0.15 ? [40, 70, 150] : mixed([8, 11, 18], [255, 150, 40], heat);
      pixels.data.set([r, g, b, 255 * (0.74 - 0.6 * heat)], place * 4);
    });
    small.getContext("2d").putImageData(pixels, 0, 0);
    this.canvas.width = this.image.clientWidth;
    this.canvas.height = this.image.clientHeight;
    const pen = this.canvas.getContext("2d");
    pen.imageSmoothingQuality = "high";
    pen.clearRect(0, 0, this.canvas.width, this.canvas.height);
    // Cells' centres lie half a cell inside: drawn larger by that, the edges are not stretched.
    pen.drawImage(small, 0, 0, this.canvas.width, this.canvas.height);
    this.canvas.classList.add("lit");
  }
}

const mixed = (from, to, share) => from.map((value, place) => value + share * (to[place] - value));
