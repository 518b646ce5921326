// A log's lines in blocks of their own: each has its place and height as soon as its text is
// here, and is drawn when its turn comes. So the newest can be drawn before all older ones.

import { el } from "./dom.js";
import { LineReader, visibleStart } from "./log_text.js";

const BLOCK_LINES = 200;
const BLOCK_CHARACTERS = 32_768;
const MAX_LINE_CHARACTERS = 16_384; // a longer one goes on in the next row
const LINE_HEIGHT_EM = 1.5;

export class LogBlocks {
  #blocks = []; // {element, lines, characters, text, style}, oldest first; `text` is not drawn yet
  #undrawn = []; // those of them that have text, oldest first
  #reader = new LineReader(); // keeps the colours as they are after all that was cut
  #newestFirst;
  #partial = el("div", { class: "partial" });
  body = el("div", { class: "lines" }, this.#partial);
  lines = 0;

  constructor({ newestFirst }) {
    this.#newestFirst = newestFirst;
  }

  /** Give each whole line of `text` its place; what follows the last one is returned. */
  cut(text) {
    let from = 0;
    for (let end = lineEnd(text, from); end >= 0; end = lineEnd(text, from)) {
      const next = text[end] === "\n" ? end + 1 : end;
      this.#add(text.slice(from, end));
      from = next;
    }
    return text.slice(from);
  }

  get waiting() {
    return this.#undrawn.length > 0;
  }

  drawNext() {
    draw(this.#newestFirst ? this.#undrawn.pop() : this.#undrawn.shift());
  }

  /** Draw the line that has not ended, in place of what was drawn of it; its part that can still be
   * seen is returned. */
  drawPartial(text) {
    const start = visibleStart(text);
    this.#reader.skip(text.slice(0, start));
    const seen = text.slice(start);
    this.#partial.replaceChildren();
    drawLine(this.#partial, this.#reader.peek(seen), "");
    return seen;
  }

  /** Remove the oldest blocks that aren't needed for `maxLines`; whether there were any. */
  trim(maxLines) {
    let count = 0;
    while (count < this.#blocks.length && this.lines - this.#blocks[count].lines >= maxLines) {
      this.#blocks[count].element.remove();
      this.lines -= this.#blocks[count].lines;
      count += 1;
    }
    const gone = new Set(this.#blocks.splice(0, count));
    if (count) this.#undrawn = this.#undrawn.filter((block) => !gone.has(block));
    return count > 0;
  }

  #add(line) {
    const block = this.#open();
    if (!block.text) {
      block.style = this.#reader.style;
      this.#undrawn.push(block);
    }
    block.text += `${line}\n`;
    block.lines += 1;
    block.characters += line.length;
    this.lines += 1;
    this.#reader.skip(line);
  }

  /** The block that takes the next line. */
  #open() {
    const last = this.#blocks.at(-1);
    if (last && last.lines < BLOCK_LINES && last.characters < BLOCK_CHARACTERS) return last;
    const block = { element: el("div", { class: "block" }), lines: 0, characters: 0, text: "", style: null };
    if (last) reserve(last);
    this.#blocks.push(block);
    this.body.insertBefore(block.element, this.#partial);
    return block;
  }
}

/** As high as its lines are when none is wrapped, drawn or not, in sight or not. */
function reserve(block) {
  const height = `${block.lines * LINE_HEIGHT_EM}em`;
  block.element.style.containIntrinsicBlockSize = `auto ${height}`;
  block.element.style.minBlockSize = height;
}

function draw(block) {
  const reader = new LineReader(block.style);
  const lines = block.text.split("\n");
  lines.pop(); // what follows the last line's end
  for (const line of lines) drawLine(block.element, reader.read(line), "\n");
  block.text = "";
  reserve(block);
}

/** Where the line that begins at `from` ends, or -1 while that isn't known. */
function lineEnd(text, from) {
  const newline = text.indexOf("\n", from);
  const length = (newline < 0 ? text.length : newline) - from;
  return length > MAX_LINE_CHARACTERS ? breakAt(text, from, from + MAX_LINE_CHARACTERS) : newline;
}

/** Not inside a surrogate pair, and not inside an escape sequence that began shortly before. */
function breakAt(text, from, limit) {
  const escape = text.lastIndexOf("\x1b", limit);
  if (escape > from && limit - escape < 32) return escape;
  return /[\ud800-\udbff]/.test(text[limit - 1]) ? limit - 1 : limit;
}

function drawLine(place, segments, end) {
  const last = segments.length - 1;
  segments.forEach(({ text, look, inks, link }, at) => {
    if (link) place.append(inked(anchor(text, look, link), inks));
    else if (look) place.append(inked(el("span", { class: look }, text), inks));
    else appendText(place, at === last ? text + end : text);
  });
  if (last < 0 || segments[last].look || segments[last].link) appendText(place, end);
}

/** Elsewhere, and without a word of where it came from. Text that isn't the address says nothing of
 * where it leads: the title does. */
function anchor(text, look, link) {
  const title = text === link ? null : link;
  return el("a", { class: look || null, href: link, title, rel: "noopener noreferrer nofollow", target: "_blank" }, text);
}

/** By the object model: the page's policy allows no `style` in markup. */
function inked(span, inks) {
  for (const [name, color] of inks) span.style.setProperty(name, color);
  return span;
}

/** Text nodes are joined: a log without colours costs one node a block. */
function appendText(place, text) {
  if (place.lastChild?.nodeType === Node.TEXT_NODE) place.lastChild.appendData(text);
  else if (text) place.append(text);
}
