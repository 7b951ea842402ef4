// Talking to the server: every failure becomes an Error whose message can be shown as it is.

const TOKEN = "imagetext-token";
let limits = { bytes: 16 * 2 ** 20, text: 500, top: 60 };

export function rememberToken(token) {
  sessionStorage.setItem(TOKEN, token);
}

// A link may carry the token behind its #, which browsers send to nobody.
export function tokenOfLink() {
  const found = location.hash.match(/^#token=(.+)$/);
  if (!found) return;
  let token = found[1];
  try {
    token = decodeURIComponent(token);
  } catch {
    // A token as it is, with a percent sign in it.
  }
  rememberToken(token);
  history.replaceState(null, "", location.pathname);
}

export class NeedsToken extends Error {}

async function call(path, options = {}) {
  const token = sessionStorage.getItem(TOKEN);
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  let answer;
  try {
    answer = await fetch(path, { ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The server cannot be reached. Is it still running?");
  }
  if (answer.ok) return answer;
  if (answer.status === 401) {
    throw new NeedsToken(token ? "That is not this server's token." : "This server asks for its token.");
  }
  const told = await answer.json().catch(() => null);
  const error = new Error(told?.error?.message ?? `The server answered ${answer.status}.`);
  throw Object.assign(error, { code: told?.error?.code });
}

export async function about() {
  const found = await (await call("/v1/about")).json();
  limits = found.limits;
  return found;
}

export const examples = async () => (await call("/v1/examples")).json();

// `fields` may hold a photo: a Blob, or {id} of one that the server has.
export async function ask(what, fields, signal) {
  const form = new FormData();
  for (const [name, value] of Object.entries(fields)) {
    if (value === undefined || value === null || value === "" || value === false) continue;
    if (name !== "photo") form.set(name, value);
    else if (value.id) form.set("photo_id", value.id);
    else form.set("photo", await fitting(value.blob), "photo");
  }
  for (let tries = 0; ; tries += 1) {
    try {
      return await (await call(`/v1/${what}`, { method: "POST", body: form, signal })).json();
    } catch (error) {
      // What was asked while the model still loads is answered once it is there.
      if (error.code !== "loading" && !(error.code === "busy" && tries < 3)) throw error;
      await new Promise((done) => setTimeout(done, 1000));
      signal?.throwIfAborted();
    }
  }
}

// What an <img> shows: a Blob, the address of a picture, or nothing. Blobs are let go of again.
export function shows(image, what) {
  image.dataset.shows = "";
  if (image.src.startsWith("blob:")) URL.revokeObjectURL(image.src);
  if (!what) image.removeAttribute("src");
  else image.src = what instanceof Blob ? URL.createObjectURL(what) : what;
}

// A photo of the server by its id. With a token it has to be fetched: <img> sends none.
export async function picture(image, id, size = "small") {
  const path = `/v1/photo/${id}?size=${size}`;
  if (!sessionStorage.getItem(TOKEN)) return shows(image, path);
  shows(image, null);
  image.dataset.shows = path;
  try {
    const blob = await (await call(path)).blob();
    if (image.dataset.shows === path) shows(image, blob); // and not another one meanwhile
  } catch {
    // Its place stays empty, as that of any <img> whose photo is not there.
  }
}

// Sentences to begin with, as buttons.
export function chips(place, sentences, chosen) {
  place.hidden = !sentences.length;
  place.replaceChildren(
    ...sentences.slice(0, 4).map((sentence) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = sentence;
      button.addEventListener("click", () => chosen(sentence));
      return button;
    }),
  );
}

// Photos of phones are larger than any model looks at: shrunk here they are sent in no time.
async function fitting(blob) {
  if (blob.size < 3 * 2 ** 20) return blob;
  try {
    const bitmap = await createImageBitmap(blob);
    const scale = Math.min(1, 2048 / Math.max(bitmap.width, bitmap.height));
    const canvas = document.createElement("canvas");
    canvas.width = Math.round(bitmap.width * scale);
    canvas.height = Math.round(bitmap.height * scale);
    canvas.getContext("2d").drawImage(bitmap, 0, 0, canvas.width, canvas.height);
    return await new Promise((done) => canvas.toBlob(done, "image/jpeg", 0.92));
  } catch {
    if (blob.size > limits.bytes) {
      throw new Error(`That is more than ${Math.round(limits.bytes / 2 ** 20)} MB. Please send less.`);
    }
    return blob; // the server says what is wrong with it
  }
}
