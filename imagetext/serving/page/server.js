// Requests to the server. Every failure becomes an Error whose message can be shown as it is.

const TOKEN = "imagetext-token";
let limits = { bytes: 16 * 2 ** 20, text: 500, top: 60 };

export function rememberToken(token) {
  sessionStorage.setItem(TOKEN, token);
}

// A link may contain the token after its #, which browsers do not send to any server.
export function readTokenFromLink() {
  const match = location.hash.match(/^#token=(.+)$/);
  if (!match) return;
  let token = match[1];
  try {
    token = decodeURIComponent(token);
  } catch {
    // The token itself contains a percent sign.
  }
  rememberToken(token);
  history.replaceState(null, "", location.pathname);
}

export class NeedsToken extends Error {}

async function call(path, options = {}) {
  const token = sessionStorage.getItem(TOKEN);
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  let response;
  try {
    response = await fetch(path, { ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("Cannot reach the server. Is it still running?");
  }
  if (response.ok) return response;
  if (response.status === 401) {
    throw new NeedsToken(token ? "The token is not valid." : "This server requires a token.");
  }
  const body = await response.json().catch(() => null);
  const error = new Error(body?.error?.message ?? `The server responded with status ${response.status}.`);
  throw Object.assign(error, { code: body?.error?.code });
}

export async function about() {
  const state = await (await call("/v1/about")).json();
  limits = state.limits;
  return state;
}

export const examples = async () => (await call("/v1/examples")).json();

// `fields` may contain a photo: {blob}, or {id} of a photo on the server.
export async function request(task, fields, signal) {
  const form = new FormData();
  for (const [name, value] of Object.entries(fields)) {
    if (value === undefined || value === null || value === "" || value === false) continue;
    if (name !== "photo") form.set(name, value);
    else if (value.id) form.set("photo_id", value.id);
    else form.set("photo", await shrunk(value.blob), "photo");
  }
  for (let tries = 0; ; tries += 1) {
    try {
      return await (await call(`/v1/${task}`, { method: "POST", body: form, signal })).json();
    } catch (error) {
      // Requests made while the model is loading are repeated until it is ready.
      if (error.code !== "loading" && !(error.code === "busy" && tries < 3)) throw error;
      await new Promise((done) => setTimeout(done, 1000));
      signal?.throwIfAborted();
    }
  }
}

// Show a Blob, a URL or nothing in an <img>, and release the Blob shown before.
export function showImage(image, source) {
  image.dataset.source = "";
  if (image.src.startsWith("blob:")) URL.revokeObjectURL(image.src);
  if (!source) image.removeAttribute("src");
  else image.src = source instanceof Blob ? URL.createObjectURL(source) : source;
}

// Show a photo of the server by its id. With a token it must be fetched, as <img> sends none.
export async function showPhoto(image, id, size = "small") {
  const path = `/v1/photo/${id}?size=${size}`;
  if (!sessionStorage.getItem(TOKEN)) return showImage(image, path);
  showImage(image, null);
  image.dataset.source = path;
  try {
    const blob = await (await call(path)).blob();
    if (image.dataset.source === path) showImage(image, blob); // unless another photo has been chosen since
  } catch {
    // The image stays empty, like any <img> whose photo is missing.
  }
}

// Show sentences to start with as buttons.
export function showSuggestions(place, sentences, choose) {
  place.hidden = !sentences.length;
  place.replaceChildren(
    ...sentences.slice(0, 4).map((sentence) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = sentence;
      button.addEventListener("click", () => choose(sentence));
      return button;
    }),
  );
}

// Photos from phones are larger than any model needs; scaled down they upload much faster.
async function shrunk(blob) {
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
      throw new Error(`The file is larger than ${Math.round(limits.bytes / 2 ** 20)} MB.`);
    }
    return blob; // the server will report what is wrong with it
  }
}
