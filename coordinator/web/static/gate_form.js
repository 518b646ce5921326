// The form by which somebody answers a step that waits for an approval.

import { el, outsider } from "./dom.js";
import { fetchJson, Refused, Unreachable } from "./http.js";

const RIGHT_OF = { developer: "build", maintainer: "manage", admin: "administer" };

/** What the step asks, with the buttons for those who may answer; null while it asks nothing. */
export function gateForm(step, allowed) {
  const asked = step.approval;
  if (!asked?.expiresAt) return null;
  const message = asked.message ? outsider(asked.message, { class: "question" }) : null;
  if (!allowed(RIGHT_OF[asked.by])) return message;
  const refusal = el("p", { class: "notice bad", role: "alert", hidden: true });
  const approve = el("button", { type: "submit", class: "primary" }, "Approve");
  const reject = el("button", { type: "button", class: "danger" }, "Reject");
  const form = el("form", { class: "gate", "aria-label": `Approval of ${step.name}` },
    message, ...(asked.params ?? []).map(field), el("div", { class: "actions" }, approve, reject), refusal);
  const answer = async (how, json) => {
    approve.disabled = reject.disabled = true;
    refusal.hidden = true;
    try {
      await fetchJson(`/api/steps/${encodeURIComponent(step.id)}/${how}`, { method: "POST", json });
    } catch (error) {
      if (!(error instanceof Refused || error instanceof Unreachable)) throw error;
      const details = (error.details ?? []).map((detail) => detail.message);
      refusal.textContent = `Could not ${how}: ${[error.message, ...details].join("; ")}`;
      refusal.hidden = false;
      approve.disabled = reject.disabled = false;
    }
  };
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    answer("approve", { params: Object.fromEntries(new FormData(form)) });
  });
  reject.addEventListener("click", () => answer("reject"));
  return form;
}

function field({ name, default: value, oneOf }) {
  const input = oneOf
    ? el("select", { name }, oneOf.map((one) => el("option", { value: one, selected: one === value }, one)))
    : el("input", { name, value: value ?? "", required: value === undefined });
  return el("label", {}, outsider(name), input);
}
