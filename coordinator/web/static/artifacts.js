// What a step left behind, to download.

import { el, fill, outsider } from "./dom.js";
import { bytes } from "./format.js";
import { fetchJson, Refused, Unreachable } from "./http.js";
import { since } from "./times.js";

/** Fill `place` with the artifacts of a finished step; null empties it. */
export async function drawArtifacts(place, step) {
  const key = step ? `${step.id} ${step.attempt} ${step.status} ${step.goneOutputs?.length ?? 0}` : "";
  if (place.dataset.step === key) return;
  place.dataset.step = key;
  fill(place);
  if (!step) return;
  let found;
  try {
    found = await fetchJson(`/api/steps/${encodeURIComponent(step.id)}/artifacts`);
  } catch (error) {
    if (!(error instanceof Refused || error instanceof Unreachable)) throw error;
    if (place.dataset.step === key) fill(place, el("p", { class: "notice" }, `The artifacts can’t be listed: ${error.message}`));
    return;
  }
  // Another step may have been chosen while this answer was on its way.
  if (place.dataset.step === key) fill(place, found.length ? table(found) : null, gone(step));
}

/** What went because its own `keep` was over. */
function gone(step) {
  if (!step.goneOutputs?.length) return null;
  return el("p", { class: "notice" }, "Deleted, as its `keep` says: ",
    step.goneOutputs.map((one, index) =>
      el("span", {}, index ? ", " : "", outsider(one.path), " ", since(one.goneAt))), ".");
}

function table(artifacts) {
  const total = artifacts.reduce((sum, artifact) => sum + artifact.size, 0);
  const files = artifacts.length === 1 ? "1 artifact" : `${artifacts.length} artifacts`;
  return el("details", { open: artifacts.length <= 5 },
    el("summary", {}, `${files}, ${bytes(total)}`),
    el("ul", {}, artifacts.map((artifact) =>
      el("li", {},
        el("a", { href: here(artifact.url), download: artifact.name.split("/").at(-1) }, outsider(artifact.name)),
        el("span", { class: "details", title: `sha256 ${artifact.sha256}` }, bytes(artifact.size))))));
}

/** The same path at the address this page was opened by, where the session's cookie is. */
function here(url) {
  const { pathname, search } = new URL(url, location.href);
  return pathname + search;
}
