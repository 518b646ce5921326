// Draws a log: in blocks that the browser skips while they are out of sight, a few ms a frame.

import { el } from "./dom.js";
import { LineReader, visibleStart } from "./log_text.js";

export const MAX_LINES = 20_000;
const BLOCK_LINES = 200;
const BLOCK_CHARACTERS = 32_768;
const MAX_LINE_CHARACTERS = 16_384; // a longer one goes on in the next row
const FRAME_MS = 8;
const NEAR_END_PIXELS = 24;
const LINE_HEIGHT_EM = 1.5;

/**
 * `follows`: stay at the end while lines come in, until the reader scrolls up. `trimmed` is called
 * when the oldest lines give way to new ones, beyond `maxLines`.
 */
export class LogView {
  #reader = new LineReader();
  #text = ""; // received, not drawn yet; at rest, the line that has not ended
  #blocks = []; // {element, lines, characters}, oldest first
  #lines = 0;
  #frame = 0;
  #idle = [];
  #following;
  #lastTop = 0;

  constructor({ label, follows = true, maxLines = Infinity, trimmed = () => {} }) {
    this.#following = follows;
    this.maxLines = maxLines;
    this.trimmed = trimmed;
    this.partial = el("div", { class: "partial" });
    this.body = el("div", { class: "lines" }, this.partial);
    // `log` announces every line by default, which nobody could listen to.
    this.scroller = el("div", { class: "log", role: "log", "aria-live": "off", "aria-label": label, tabindex: "0" }, this.body);
    this.toEnd = el("button", { type: "button", class: "to-end", hidden: true }, "↓ To the end");
    this.element = el("div", { class: "log-frame" }, this.scroller, this.toEnd);
    if (follows) this.scroller.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    this.toEnd.addEventListener("click", () => this.#follow(true));
    // Blocks get their true height only when they come into sight: stay at the end then, too.
    this.resized = new ResizeObserver(() => this.#pin());
    this.resized.observe(this.body);
    this.resized.observe(this.scroller);
  }

  /** Draw `text` after what is there; it may end inside a line, or an escape sequence. */
  append(text) {
    this.#text = this.#newest(this.#text + text);
    this.#frame ||= requestAnimationFrame(() => this.#draw());
  }

  /** Resolves when everything appended is drawn. */
  drawn() {
    return this.#frame ? new Promise((resolve) => this.#idle.push(resolve)) : Promise.resolve();
  }

  remove() {
    cancelAnimationFrame(this.#frame);
    this.resized.disconnect();
    this.element.remove();
  }

  #draw() {
    const until = performance.now() + FRAME_MS;
    let from = 0;
    let end = this.#lineEnd(from);
    while (end >= 0) {
      this.#addLine(this.#text.slice(from, end));
      from = this.#text[end] === "\n" ? end + 1 : end;
      if (performance.now() > until) break;
      end = this.#lineEnd(from);
    }
    this.#text = this.#text.slice(from);
    this.#trim();
    const unfinished = end >= 0;
    if (!unfinished) this.#drawPartial();
    this.#pin();
    this.#frame = unfinished ? requestAnimationFrame(() => this.#draw()) : 0;
    if (!unfinished) this.#idle.splice(0).forEach((resolve) => resolve());
  }

  /** Where the line that begins at `from` ends, or -1 while that isn't known. */
  #lineEnd(from) {
    const newline = this.#text.indexOf("\n", from);
    const length = (newline < 0 ? this.#text.length : newline) - from;
    return length > MAX_LINE_CHARACTERS ? breakAt(this.#text, from, from + MAX_LINE_CHARACTERS) : newline;
  }

  #addLine(line) {
    let block = this.#blocks.at(-1);
    if (!block || block.lines >= BLOCK_LINES || block.characters >= BLOCK_CHARACTERS) {
      block = { element: el("div", { class: "block" }), lines: 0, characters: 0 };
      this.#blocks.push(block);
      this.body.insertBefore(block.element, this.partial);
    }
    drawLine(block.element, this.#reader.read(line), "\n");
    block.lines += 1;
    block.characters += line.length;
    block.element.style.containIntrinsicBlockSize = `auto ${block.lines * LINE_HEIGHT_EM}em`;
    this.#lines += 1;
  }

  #drawPartial() {
    const start = visibleStart(this.#text);
    if (start > 0) {
      this.#reader.overwrite(this.#text.slice(0, start));
      this.#text = this.#text.slice(start);
    }
    this.partial.replaceChildren();
    drawLine(this.partial, this.#reader.peek(this.#text), "");
  }

  #trim() {
    while (this.#blocks.length && this.#lines - this.#blocks[0].lines >= this.maxLines) {
      const [oldest] = this.#blocks.splice(0, 1);
      oldest.element.remove();
      this.#lines -= oldest.lines;
      this.trimmed();
    }
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

function drawLine(place, segments, end) {
  const last = segments.length - 1;
  segments.forEach(({ text, look }, at) => {
    if (look) place.append(el("span", { class: look }, text));
    else appendText(place, at === last ? text + end : text);
  });
  if (last < 0 || segments[last].look) appendText(place, end);
}

/** Text nodes are joined: a log without colours costs one node a block. */
function appendText(place, text) {
  if (place.lastChild?.nodeType === Node.TEXT_NODE) place.lastChild.appendData(text);
  else if (text) place.append(text);
}

/** Not inside a surrogate pair, and not inside an escape sequence that began shortly before. */
function breakAt(text, from, limit) {
  const escape = text.lastIndexOf("\x1b", limit);
  if (escape > from && limit - escape < 32) return escape;
  return /[\ud800-\udbff]/.test(text[limit - 1]) ? limit - 1 : limit;
}
