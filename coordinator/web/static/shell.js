// What all pages share: the breadcrumb, the title, and what to say when the API refuses.

import { el, fill } from "./dom.js";

/** `steps` are `[text, href]`; the last one is this page. */
export function crumbs(...steps) {
  fill(
    document.getElementById("crumbs"),
    steps.map(([text, href], index) =>
      el("a", { href, "aria-current": index === steps.length - 1 ? "page" : undefined }, el("bdi", {}, text)),
    ),
  );
}

export function title(text) {
  document.title = text ? `${text} · pushrod` : "pushrod";
}

/** A refusal in the place where the data would have been. */
export function showRefusal(place, error) {
  place.removeAttribute("aria-busy");
  if (error.status === 404) {
    title("Not found");
    crumbs(["Projects", "/"], ["Not found", location.pathname]);
  }
  fill(
    place,
    error.status === 404 ? el("h1", {}, "Not found") : null,
    el("div", { class: "notice bad", role: "alert" },
      el("strong", {}, error.status === 404 ? "It is not there, or not yours to see. " : ""),
      error.message,
      error.details?.length ? el("ul", {}, error.details.map((detail) => el("li", {}, describe(detail)))) : null,
    ),
  );
}

const describe = (detail) => (typeof detail === "string" ? detail : JSON.stringify(detail));
