// Shows a log: what is looked at first, then the rest, a few ms a frame.

import { el } from "./dom.js";
import { LogBlocks } from "./log_blocks.js";

export const MAX_LINES = 20_000;
const FRAME_MS = 8;
const NEAR_END_PIXELS = 24;

/**
 * `follows`: begin at the end, and stay there while lines come in, until the reader scrolls up.
 * `trimmed` is called when the oldest lines give way to new ones, beyond `maxLines`.
 */
export class LogView {
  #text = ""; // received, not cut into lines yet; at rest, the line that has not ended
  #blocks;
  #frame = 0;
  #idle = [];
  #following;
  #lastTop = 0;

  constructor({ label, follows = true, maxLines = Infinity, trimmed = () => {} }) {
    this.#following = follows;
    this.maxLines = maxLines;
    this.trimmed = trimmed;
    this.#blocks = new LogBlocks({ newestFirst: follows });
    // `log` announces every line by default, which nobody could listen to.
    this.scroller = el("div", { class: "log", role: "log", "aria-live": "off", "aria-label": label, tabindex: "0" }, this.#blocks.body);
    this.toEnd = el("button", { type: "button", class: "to-end", hidden: true }, "↓ To the end");
    this.element = el("div", { class: "log-frame" }, this.scroller, this.toEnd);
    if (follows) this.scroller.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    this.toEnd.addEventListener("click", () => this.#follow(true));
    // Blocks get their true height only when they come into sight: stay at the end then, too.
    this.resized = new ResizeObserver(() => this.#pin());
    this.resized.observe(this.#blocks.body);
    this.resized.observe(this.scroller);
  }

  /** Draw `text` after what is there; it may end inside a line, or an escape sequence. */
  append(text) {
    this.#text = this.#newest(this.#text + text);
    this.#frame ||= requestAnimationFrame(() => this.#draw());
  }

  /** Resolves when everything appended has its place, and what is looked at first is drawn. */
  placed() {
    return this.#text && this.#frame ? new Promise((resolve) => this.#idle.push(resolve)) : Promise.resolve();
  }

  remove() {
    cancelAnimationFrame(this.#frame);
    this.resized.disconnect();
    this.element.remove();
  }

  #draw() {
    const until = performance.now() + FRAME_MS;
    this.#text = this.#blocks.drawPartial(this.#blocks.cut(this.#text));
    if (this.#blocks.trim(this.maxLines)) this.trimmed();
    while (this.#blocks.waiting) {
      this.#blocks.drawNext();
      if (performance.now() > until) break;
    }
    this.#pin();
    this.#frame = this.#blocks.waiting ? requestAnimationFrame(() => this.#draw()) : 0;
    this.#idle.splice(0).forEach((resolve) => resolve());
  }

  /** The part of `text` that can still be seen once it is drawn: its last lines. */
  #newest(text) {
    if (text.length < this.maxLines) return text;
    let from = text.length;
    for (let lines = 0; lines <= this.maxLines && from > 0; lines += 1) {
      from = text.lastIndexOf("\n", from - 1);
    }
    if (from <= 0) return text;
    this.trimmed();
    return text.slice(from + 1);
  }

  #pin() {
    if (this.#following) this.scroller.scrollTop = this.scroller.scrollHeight;
    this.#lastTop = this.scroller.scrollTop;
  }

  #follow(following) {
    this.#following = following;
    this.toEnd.hidden = following;
    this.#pin();
  }

  /** Only a move upwards is the reader's wish: the end itself moves down while lines come in. */
  #scrolled() {
    const { scrollTop, scrollHeight, clientHeight } = this.scroller;
    const atEnd = scrollHeight - scrollTop - clientHeight < NEAR_END_PIXELS;
    if (atEnd !== this.#following && (atEnd || scrollTop < this.#lastTop)) this.#follow(atEnd);
    else this.#lastTop = scrollTop;
  }
}
