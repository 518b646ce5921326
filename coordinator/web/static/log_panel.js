// One attempt's log: its end live, or any part of it, or all of it as a file.

import { el, fill } from "./dom.js";
import { bytes } from "./format.js";
import { Refused, Unreachable } from "./http.js";
import { DONE, live } from "./live.js";
import { logPath, partsOf, readPart, wholeLog } from "./log_parts.js";
import { LogSource } from "./log_source.js";
import { LogView, MAX_LINES } from "./log_view.js";

export class LogPanel {
  #name;
  #path;
  #fileName;
  #notice = el("span", { class: "log-notice" });
  #ways = el("span", { class: "log-ways" });
  #download = el("button", { type: "button", class: "quiet" }, "Download");
  #view = null;
  #loop = null;
  #reading = null;
  #size = 0;

  constructor({ key, step, attempt }) {
    this.key = key;
    this.#name = step.name;
    this.#path = logPath(step.id, attempt);
    this.#fileName = `${step.name.replaceAll(/[^\w.-]+/g, "-")}-${attempt}.log`;
    this.#download.addEventListener("click", () => this.#save());
    this.element = el("div", { class: "log-panel" },
      el("p", { class: "log-bar" }, this.#notice, this.#ways, this.#download));
    this.#showEnd();
  }

  remove() {
    this.#close();
    this.element.remove();
  }

  #showEnd() {
    this.#close();
    this.#say("");
    let whole = true;
    const view = this.#newView({ maxLines: MAX_LINES, trimmed: () => (whole = false) });
    const source = new LogSource({ path: this.#path, view, started: (start) => (whole &&= start === 0) });
    this.#loop = live(
      async (signal, mayHold) => {
        const delay = await source.turn(signal, mayHold);
        if (signal.aborted) return delay;
        this.#size = source.size;
        this.#describe({ whole, growing: delay !== DONE });
        return delay;
      },
      (error) => this.#say(error.message),
    );
  }

  #describe({ whole, growing }) {
    const what = whole ? bytes(this.#size) : `The end of ${bytes(this.#size)}`;
    this.#say(growing ? `${what} · live` : what, !whole && way("From the start", () => this.#showPart(0)));
  }

  async #showPart(index) {
    this.#close();
    const count = partsOf(this.#size);
    this.#say(
      `Part ${index + 1} of ${count}, ${bytes(this.#size)} in all.`,
      index > 0 && way("← Earlier", () => this.#showPart(index - 1)),
      index + 1 < count && way("Later →", () => this.#showPart(index + 1)),
      way("To the end", () => this.#showEnd()),
    );
    const view = this.#newView({ follows: false });
    this.#reading = new AbortController();
    const { signal } = this.#reading;
    await this.#orSay(async () => {
      const text = await readPart(this.#path, index, signal);
      if (!signal.aborted) view.append(text);
    });
  }

  async #save() {
    this.#download.disabled = true;
    await this.#orSay(async () => {
      const url = URL.createObjectURL(await wholeLog(this.#path));
      el("a", { href: url, download: this.#fileName }).click();
      setTimeout(() => URL.revokeObjectURL(url), 60_000);
    });
    this.#download.disabled = false;
  }

  async #orSay(action) {
    try {
      await action();
    } catch (error) {
      if (error.name === "AbortError") return;
      if (!(error instanceof Refused || error instanceof Unreachable)) throw error;
      this.#say(`The log can’t be read: ${error.message}`, way("Try again", () => this.#showEnd()));
    }
  }

  #say(text, ...ways) {
    if (this.#notice.textContent === text) return;
    fill(this.#notice, text);
    fill(this.#ways, ...ways);
  }

  #newView(options) {
    this.#view = new LogView({ label: `Log of ${this.#name}`, ...options });
    this.element.append(this.#view.element);
    return this.#view;
  }

  #close() {
    this.#loop?.stop();
    this.#reading?.abort();
    this.#view?.remove();
  }
}

const way = (text, action) => el("button", { type: "button", class: "quiet", onclick: action }, text);
