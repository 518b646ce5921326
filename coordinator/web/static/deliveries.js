// `/projects/{id}/deliveries`: the webhooks that came in, what became of each, and once more.

import { el, fill, list, outsider } from "./dom.js";
import { fetchJson, Refused, Unreachable } from "./http.js";
import { live } from "./live.js";
import { fetchSession, may } from "./session.js";
import { crumbs, showRefusal, title } from "./shell.js";
import { badge } from "./status.js";
import { since } from "./times.js";

const BUSY_MS = 2_000;
const CALM_MS = 8_000;
const PAGE = 25;

const projectId = decodeURIComponent(location.pathname.split("/")[2]);
const offset = Math.max(0, Number.parseInt(new URLSearchParams(location.search).get("offset"), 10) || 0);
const path = `/api/projects/${encodeURIComponent(projectId)}`;
const head = document.getElementById("head");
const refusal = el("p", { class: "notice bad", role: "alert", hidden: true });
let project = null;
let person = null;

const loop = live(turn, (error) => showRefusal(head, error));

async function turn(signal) {
  const found = project ?? (await fetchJson(path, { signal }));
  person ??= await fetchSession(signal);
  const page = await fetchJson(`${path}/deliveries?limit=${PAGE}&offset=${offset}`, { signal });
  if (signal.aborted) return 0;
  if (project === null) drawHead(found);
  project = found;
  draw(page);
  return page.deliveries.some((delivery) => delivery.status === "received") ? BUSY_MS : CALM_MS;
}

function drawHead(found) {
  head.removeAttribute("aria-busy");
  title(`Deliveries · ${found.name}`);
  crumbs(["Projects", "/"], [found.name, `/projects/${found.id}`], ["Deliveries", location.pathname]);
  fill(
    head,
    el("h1", {}, "Deliveries of ", outsider(found.name)),
    el("dl", { class: "facts" },
      found.repoUrl ? fact("Repository", el("code", {}, found.repoUrl)) : null,
      fact("Webhook", el("code", {}, found.webhookUrl)),
      fact("Refused, not signed", el("span", { id: "rejected" })),
    ),
    refusal,
  );
}

function draw({ deliveries, rejectedSinceStart, pagination }) {
  document.getElementById("rejected").textContent = `${rejectedSinceStart} since the start`;
  const place = document.getElementById("deliveries");
  if (pagination.total === 0) {
    fill(place, el("p", { class: "empty" }, "No webhook has come in yet."));
  } else {
    const rows = place.querySelector("ul") ?? fresh(place);
    list(rows, deliveries, {
      key: (delivery) => delivery.deliveryId,
      create: () => el("li", { class: "row" }),
      draw: (row, delivery) => fill(row, ...cells(delivery)),
    });
  }
  fill(
    document.getElementById("pages"),
    offset > 0 ? el("a", { href: `?offset=${Math.max(0, offset - PAGE)}`, rel: "prev" }, "← Newer") : null,
    pagination.hasMore ? el("a", { href: `?offset=${offset + PAGE}`, rel: "next" }, "Older →") : null,
  );
}

function fresh(place) {
  const rows = el("ul", { class: "rows" });
  fill(place, rows);
  return rows;
}

function cells(delivery) {
  return [
    badge(delivery.status),
    el("span", { class: "what" },
      el("span", { class: "headline" }, outsider(delivery.event), " ", outsider(moved(delivery))),
      el("span", { class: "details" },
        ...delivery.builds.map((build) => el("a", { href: `/builds/${build.id}` }, `#${build.number}`)),
        delivery.reason ? outsider(delivery.reason) : null,
        el("code", {}, delivery.deliveryId),
      ),
    ),
    el("span", { class: "when" },
      delivery.status === "received" || !may(person, "build", project.account) ? null : again(delivery),
      el("span", { class: "ago" }, since(delivery.receivedAt)),
    ),
  ];
}

function moved(delivery) {
  if (delivery.pullRequest) return `pull/${delivery.pullRequest}`;
  const names = delivery.refs.map(({ ref }) => ref.split("/").slice(2).join("/"));
  return names.slice(0, 3).join(", ") + (names.length > 3 ? ` and ${names.length - 3} more` : "");
}

function again(delivery) {
  const button = el("button", { type: "button", class: "quiet" }, "Redeliver");
  button.addEventListener("click", async () => {
    button.disabled = true;
    refusal.hidden = true;
    try {
      await fetchJson(`${path}/deliveries/${encodeURIComponent(delivery.deliveryId)}/redeliver`, { method: "POST" });
      loop.wake();
    } catch (error) {
      if (!(error instanceof Refused || error instanceof Unreachable)) throw error;
      refusal.textContent = `Could not redeliver: ${error.message}`;
      refusal.hidden = false;
      button.disabled = false;
    }
  });
  return button;
}

const fact = (name, value) => el("div", {}, el("dt", {}, name), el("dd", {}, value));
