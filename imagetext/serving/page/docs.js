// The API reference, generated from /openapi.json.

const create = (name, text = "", kind = "") => {
  const element = document.createElement(name);
  element.textContent = text;
  if (kind) element.className = kind;
  return element;
};
const api = await (await fetch("/openapi.json")).json();
const resolved = (schema) => (schema?.$ref ? api.components.schemas[schema.$ref.split("/").pop()] : schema);

const SAMPLES = { photo: "@dog.jpg", text: "'a dog in snow'", top: "3", without: "'people'" };

function command(method, path, fields) {
  const address = `${location.origin}${path}`;
  if (method !== "post") return `curl ${address}`;
  const names = Object.keys(fields).filter((name) => SAMPLES[name]);
  return `curl ${address} ${names.map((name) => `-F ${name}=${SAMPLES[name]}`).join(" ")}`;
}

function rows(fields) {
  const table = create("table");
  for (const [name, field] of Object.entries(fields)) {
    const row = create("tr");
    const first = create("td");
    first.append(create("code", name));
    const kinds = (field.anyOf ?? [field]).filter((each) => each.type !== "null").map(resolved);
    const type = kinds.map((each) => each.type).join(" or ") + (kinds.length < (field.anyOf?.length ?? 1) ? ", or null" : "");
    const items = resolved(kinds[0].items ?? kinds[0]);
    const inner = items?.properties ? `${kinds[0].items ? "each with" : "with"} ${Object.keys(items.properties).join(", ")}` : "";
    row.append(first, create("td", `${field.description ?? ""}${inner ? `: ${inner}` : ""}`), create("td", type, "faint"));
    table.append(row);
  }
  return table;
}

const routes = document.getElementById("routes");
for (const [path, methods] of Object.entries(api.paths)) {
  for (const [method, route] of Object.entries(methods)) {
    const card = create("article", "", "card");
    const head = create("h2");
    head.append(create("b", method.toUpperCase()), path);
    const form = route.requestBody?.content["multipart/form-data"].schema.properties ?? {};
    const response = resolved(route.responses["200"]?.content?.["application/json"]?.schema)?.properties;
    card.append(head, create("span", route.summary ?? "", "faint"), create("pre", command(method, path, form)));
    if (Object.keys(form).length) card.append(create("h3", "Request", "label"), rows(form));
    if (response) card.append(create("h3", "Response", "label"), rows(response));
    routes.append(card);
  }
}
