// What is wrong with a workflow, each mistake with its place.

import { el, fill, outsider } from "./dom.js";

export function drawProblems(place, problems = []) {
  const state = JSON.stringify(problems);
  if (place.dataset.state === state) return;
  place.dataset.state = state;
  if (problems.length === 0) return fill(place);
  const count = problems.length === 1 ? "1 mistake" : `${problems.length} mistakes`;
  fill(
    place,
    el("section", { class: "notice bad problems", "aria-labelledby": "problems-title" },
      el("h2", { id: "problems-title" }, `The workflow has ${count}`),
      el("ol", {}, problems.map((problem) =>
        el("li", {}, outsider(placeOf(problem), { class: "place" }), outsider(problem.message))))),
  );
}

/** `.pushrod/ci.yml:12:3`, or the path inside a value that came over the API. */
const placeOf = ({ file, line, column, path }) => [file, line, column, path].filter((part) => part !== undefined).join(":");
