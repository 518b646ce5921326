// `/api/docs`: the OpenAPI document for people. One request, then nothing but drawing.

import { codeBlock, el, fill } from "./dom.js";
import { fetchJson } from "./http.js";
import { crumbs, showRefusal } from "./shell.js";

const DEEPEST = 4; // levels of objects within objects that are drawn
const METHODS = ["get", "post", "put", "patch", "delete"];

const place = document.getElementById("operations");
let spec;

function draw() {
  const groups = new Map(spec.tags.map(({ name }) => [name, []]));
  for (const [path, methods] of Object.entries(spec.paths)) {
    for (const method of METHODS.filter((name) => methods[name])) {
      const operation = methods[method];
      groups.get(operation.tags[0]).push(drawOperation(method, path, operation));
    }
  }
  place.removeAttribute("aria-busy");
  fill(place, [...groups].map(([name, operations]) =>
    el("section", { class: "tag", "aria-labelledby": anchor(name) },
      el("h2", { id: anchor(name) }, name), operations)));
  fill(document.getElementById("tags"),
    el("ul", {}, [...groups.keys()].map((name) =>
      el("li", {}, el("a", { href: `#${anchor(name)}` }, name)))));
}

const anchor = (name) => `tag-${name.toLowerCase().replaceAll(" ", "-")}`;

/** A link to one call shows it opened. */
function openTarget() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target?.tagName === "DETAILS") target.open = true;
  target?.scrollIntoView();
}

function drawOperation(method, path, operation) {
  const details = el("details", { class: "operation", id: operation.operationId },
    el("summary", {},
      el("span", { class: `method ${method}` }, method.toUpperCase()),
      el("span", { class: "path" }, path),
      el("span", { class: "summary" }, operation.summary)));
  details.addEventListener("toggle", () => {
    if (details.open && details.children.length === 1) details.append(about(method, path, operation));
  });
  return details;
}

function about(method, path, operation) {
  const body = contentOf(operation.requestBody);
  const good = Object.entries(operation.responses).find(([status]) => status.startsWith("2"));
  const answer = good && contentOf(good[1]);
  return el("div", { class: "about" },
    operation.description && el("p", { class: "text" }, operation.description),
    operation.security?.length === 0 && el("p", { class: "hint" }, "Needs no token."),
    operation.parameters.length > 0 && section("Parameters", fields(operation.parameters.map(parameter))),
    body && section(`Body (${body.type})`, drawSchema(body.schema, 0)),
    answer && section(`Answer ${good[0]} (${answer.type})`,
      el("div", { class: "answer" }, drawSchema(answer.schema, 0))),
    section("Statuses", el("dl", { class: "statuses" },
      Object.entries(operation.responses).flatMap(([status, { description }]) =>
        [el("dt", {}, status), el("dd", {}, description)]))),
    section("With curl", codeBlock(curl(method, path, operation, body))));
}

const section = (name, ...children) => el("section", {}, el("h3", {}, name), ...children);

function contentOf(part) {
  const [type, content] = Object.entries(part?.content ?? {})[0] ?? [];
  return type && { type, schema: content.schema };
}

const parameter = ({ name, in: where, required, schema }) =>
  ({ name, required, schema, note: where === "query" ? "" : where });

const resolve = (schema) =>
  schema?.$ref ? spec.components.schemas[schema.$ref.split("/").pop()] : schema ?? {};

function drawSchema(schema, depth) {
  const whole = resolve(schema);
  if (whole.type === "array") return [el("p", { class: "hint" }, "A list of"), drawSchema(whole.items, depth)];
  if (!whole.properties) return el("p", { class: "field-type" }, typeOf(whole));
  return fields(Object.entries(whole.properties).map(([name, value]) =>
    ({ name, required: whole.required?.includes(name), schema: value, note: "" })), depth);
}

function fields(all, depth = 0) {
  return el("ul", { class: "fields" }, all.map(({ name, required, schema, note }) => {
    const inner = innerObject(schema);
    return el("li", {},
      el("span", { class: "field-name" }, name), " ",
      el("span", { class: "field-type" }, [note, typeOf(schema), rules(schema)].filter(Boolean).join(", ")), " ",
      el("span", { class: required ? "needed" : "perhaps" }),
      schema.description ? el("span", { class: "details" }, ` ${schema.description}`) : null,
      inner && depth < DEEPEST ? drawSchema(inner, depth + 1) : null);
  }));
}

/** The object that a field holds, or a list of which it holds. */
function innerObject(schema) {
  const choices = (schema.anyOf ?? [schema]).map(resolve).filter(({ type }) => type !== "null");
  const whole = choices[0]?.type === "array" ? resolve(choices[0].items) : choices[0];
  return choices.length === 1 && whole?.properties ? whole : null;
}

function typeOf(schema) {
  const whole = resolve(schema);
  if (whole.anyOf) return whole.anyOf.map(typeOf).join(" or ");
  if (whole.const !== undefined) return JSON.stringify(whole.const);
  if (whole.enum) return whole.enum.map((value) => JSON.stringify(value)).join(" | ");
  if (whole.type === "array") return `list of ${typeOf(whole.items)}`;
  return whole.format ? `${whole.type} (${whole.format})` : whole.type ?? "anything";
}

function rules(schema) {
  const whole = resolve(schema);
  const said = [
    ["minLength", "at least", "characters"], ["maxLength", "at most", "characters"],
    ["minimum", "at least", ""], ["maximum", "at most", ""], ["default", "default", ""],
  ];
  return said
    .filter(([key]) => whole[key] !== undefined && Math.abs(whole[key]) !== 2 ** 63)
    .map(([key, before, after]) => [before, JSON.stringify(whole[key]), after].filter(Boolean).join(" "))
    .join(", ");
}

function curl(method, path, operation, body) {
  const lines = [`curl -X ${method.toUpperCase()} '${spec.servers[0].url}${path}'`];
  if (operation.security?.length !== 0) lines.push(`-H "Authorization: Bearer $TOKEN"`);
  for (const { in: where, name } of operation.parameters) {
    if (where === "header") lines.push(`-H '${name}: …'`);
  }
  if (body) lines.push(`-H 'Content-Type: ${body.type}'`, `-d '${JSON.stringify(example(body.schema))}'`);
  return lines.join(" \\\n  ");
}

/** The required members, with values of the right type. */
function example(schema) {
  const whole = resolve(schema.anyOf ? schema.anyOf[0] : schema);
  if (whole.enum) return whole.enum[0];
  if (whole.type === "array") return [];
  if (whole.type === "integer" || whole.type === "number") return whole.minimum > 0 ? whole.minimum : 0;
  if (whole.type === "boolean") return false;
  if (whole.type !== "object") return "…";
  return Object.fromEntries((whole.required ?? []).map((name) => [name, example(whole.properties[name])]));
}

crumbs(["API reference", location.pathname]);
try {
  spec = await fetchJson("/api/openapi.json");
  draw();
  openTarget();
  addEventListener("hashchange", openTarget);
} catch (error) {
  showRefusal(place, error);
}
