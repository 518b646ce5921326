// A log's raw lines → styled segments. Pure: terminal codes become class names, never markup.

import { linkOf, piecesOf } from "./log_links.js";

const BASIC = [
  [0, 0, 0], [205, 49, 49], [13, 160, 90], [200, 180, 20],
  [36, 114, 200], [188, 63, 188], [17, 168, 205], [200, 200, 200],
];

const PLAIN = Object.freeze({
  fg: null, bg: null, bold: false, dim: false, italic: false, underline: false, strike: false, inverse: false,
  link: null,
});

// CSI … final | OSC and other strings up to their end | two-character escapes | other controls.
const CONTROL =
  /\x1b\[([0-9:;<=>?]*)[ -/]*([@-~])?|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[ -/]*[0-~]?|[\x00-\x08\x0b-\x1f\x7f-\x9f]/g;
// A link (OSC 8), whole.
const LINK = /^\x1b\](8;[^\x07\x1b]*)(?:\x07|\x1b\\)$/;
// Back to the line's start: what follows is drawn over what was there.
const RETURN = /\r|\x1b\[[01]?G/;

// `38:2:<space>:r:g:b`, where the colour space is optional and mostly empty.
const COLOR_SPACE = /([34]8:2):\d*:(\d+:\d+:\d+)/g;

/** Keeps the colours that a line leaves switched on for the next one. */
export class LineReader {
  #style;

  constructor(style = PLAIN) {
    this.#style = style;
  }

  get style() {
    return this.#style;
  }

  /**
   * The segments `{text, look, inks, link}` of one whole line: class names, the exact colours behind
   * `fgx` and `bgx` as custom properties, and the address that the text leads to, or null.
   *
   * A link ends with its line: one that nobody closed would take the rest of the log along.
   */
  read(line) {
    const { segments, style } = parse(line, this.#style);
    this.#style = unlinked(style);
    return segments;
  }

  /** The same for a line that has not ended yet, without consequences. */
  peek(line) {
    return parse(line, this.#style).segments;
  }

  /** Account for text that is drawn elsewhere, or over: only its colours live on. */
  skip(text) {
    if (!text.includes("\x1b")) return;
    for (const found of text.matchAll(CONTROL)) {
      if (found[2] === "m") this.#style = restyled(this.#style, found[1]);
    }
  }
}

/**
 * Where the part of an unfinished line begins that is seen: after the last carriage return that
 * has something behind it. A progress bar would grow without end otherwise.
 */
export function visibleStart(line) {
  const end = line.endsWith("\r") ? line.length - 2 : line.length - 1;
  return end < 0 ? 0 : line.lastIndexOf("\r", end) + 1;
}

function parse(line, before) {
  const layers = line.replace(/\r+$/, "").split(RETURN);
  let segments = [];
  let style = before;
  for (const layer of layers) ({ segments, style } = parseLayer(layer, style));
  return { segments, style };
}

function parseLayer(text, before) {
  const segments = [];
  let style = before;
  let from = 0;
  for (const found of text.matchAll(CONTROL)) {
    add(segments, text.slice(from, found.index), style);
    from = found.index + found[0].length;
    if (found[2] === "m") style = restyled(style, found[1]);
    const command = LINK.exec(found[0]);
    if (command) style = { ...style, link: linkOf(command[1]) };
  }
  add(segments, text.slice(from), style);
  return { segments, style };
}

function add(segments, text, style) {
  if (!text) return;
  const [look, inks] = [lookOf(style), inksOf(style)];
  const pieces = style.link ? [{ text, link: style.link }] : piecesOf(text);
  for (const piece of pieces) segments.push({ ...piece, look, inks });
}

function unlinked(style) {
  return style.link ? { ...style, link: null } : style;
}

function lookOf(style) {
  if (style === PLAIN) return "";
  const { inverse } = style;
  const { fg, bg } = shownColors(style);
  return [
    ...classesOf("bg", bg),
    ...classesOf("fg", fg),
    inverse && bg === null && "inverse",
    ...["bold", "dim", "italic", "underline", "strike"].filter((name) => style[name]),
  ].filter(Boolean).join(" ");
}

function shownColors({ fg, bg, inverse }) {
  return inverse ? { fg: bg, bg: fg } : { fg, bg };
}

/** An exact colour has the nearest of the 16 too, for browsers that can't fit it to the theme. */
function classesOf(layer, color) {
  if (color === null) return [];
  return Array.isArray(color) ? [`${layer}${nearest(color)}`, `${layer}x`] : [`${layer}${color}`];
}

function inksOf(style) {
  if (style === PLAIN) return [];
  const exact = Object.entries(shownColors(style)).filter(([, color]) => Array.isArray(color));
  return exact.map(([layer, color]) => [`--${layer}`, `rgb(${color.join(" ")})`]);
}

function restyled(style, parameters) {
  const codes = parameters.replace(COLOR_SPACE, "$1:$2").split(/[:;]/).map(Number);
  let next = style;
  for (let at = 0; at < codes.length; at += 1) {
    const code = codes[at];
    if (code === 38 || code === 48) {
      const [color, used] = extendedColor(codes.slice(at + 1));
      next = { ...next, [code === 38 ? "fg" : "bg"]: color };
      at += used;
    } else {
      next = basic(next, code);
    }
  }
  return next;
}

function basic(style, code) {
  if (code === 0) return style.link ? { ...PLAIN, link: style.link } : PLAIN; // links are none of its business
  if (code === 22) return { ...style, bold: false, dim: false };
  const flag = { 1: "bold", 2: "dim", 3: "italic", 4: "underline", 7: "inverse", 9: "strike" };
  if (flag[code]) return { ...style, [flag[code]]: true };
  if (flag[code - 20]) return { ...style, [flag[code - 20]]: false };
  if (code === 39) return { ...style, fg: null };
  if (code === 49) return { ...style, bg: null };
  if (code >= 30 && code <= 37) return { ...style, fg: code - 30 };
  if (code >= 90 && code <= 97) return { ...style, fg: code - 82 };
  if (code >= 40 && code <= 47) return { ...style, bg: code - 40 };
  if (code >= 100 && code <= 107) return { ...style, bg: code - 92 };
  return style;
}

/** `5;n` and `2;r;g;b` → one of the themes' 16 colours, or an exact one as red, green and blue. */
function extendedColor([kind, ...values]) {
  if (kind === 5) return [paletteColor(values[0]), 2];
  if (kind === 2) return [[0, 1, 2].map((at) => Math.min(values[at] || 0, 255)), 4];
  return [null, 0];
}

function paletteColor(index) {
  if (!(index >= 0 && index <= 255)) return null;
  if (index < 16) return index;
  if (index >= 232) return Array(3).fill(8 + (index - 232) * 10);
  const cube = index - 16;
  const parts = [Math.floor(cube / 36), Math.floor(cube / 6) % 6, cube % 6];
  return parts.map((part) => (part ? 55 + part * 40 : 0)); // as xterm has them
}

function nearest(color) {
  const distance = (other) => other.reduce((sum, part, at) => sum + (part - color[at]) ** 2, 0);
  const distances = BASIC.map(distance);
  return distances.indexOf(Math.min(...distances));
}
