// The API's description, drawn from /openapi.json.

const made = (name, text = "", kind = "") => {
  const element = document.createElement(name);
  element.textContent = text;
  if (kind) element.className = kind;
  return element;
};
const api = await (await fetch("/openapi.json")).json();
const named = (schema) => (schema?.$ref ? api.components.schemas[schema.$ref.split("/").pop()] : schema);

const SHOWN = { photo: "@dog.jpg", text: "'a dog in snow'", top: "3", without: "'people'" };

function command(method, path, fields) {
  const address = `${location.origin}${path}`;
  if (method !== "post") return `curl ${address}`;
  const given = Object.keys(fields).filter((name) => SHOWN[name]);
  return `curl ${address} ${given.map((name) => `-F ${name}=${SHOWN[name]}`).join(" ")}`;
}

function rows(fields) {
  const table = made("table");
  for (const [name, field] of Object.entries(fields)) {
    const row = made("tr");
    const first = made("td");
    first.append(made("code", name));
    const kinds = (field.anyOf ?? [field]).filter((each) => each.type !== "null").map(named);
    const of = kinds.map((each) => each.type).join(" or ") + (kinds.length < (field.anyOf?.length ?? 1) ? ", or null" : "");
    const items = named(kinds[0].items ?? kinds[0]);
    const inner = items?.properties ? `${kinds[0].items ? "each with" : "with"} ${Object.keys(items.properties).join(", ")}` : "";
    row.append(first, made("td", `${field.description ?? ""}${inner ? `: ${inner}` : ""}`), made("td", of, "faint"));
    table.append(row);
  }
  return table;
}

const routes = document.getElementById("routes");
for (const [path, methods] of Object.entries(api.paths)) {
  for (const [method, route] of Object.entries(methods)) {
    const card = made("article", "", "card");
    const head = made("h2");
    head.append(made("b", method.toUpperCase()), path);
    const form = route.requestBody?.content["multipart/form-data"].schema.properties ?? {};
    const answer = named(route.responses["200"]?.content?.["application/json"]?.schema)?.properties;
    card.append(head, made("span", route.summary ?? "", "faint"), made("pre", command(method, path, form)));
    if (Object.keys(form).length) card.append(made("h3", "Asked", "label"), rows(form));
    if (answer) card.append(made("h3", "Answered", "label"), rows(answer));
    routes.append(card);
  }
}
