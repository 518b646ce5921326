// A summary, which the coordinator has read from Markdown, as elements: only these, and texts.

import { el } from "./dom.js";

const TAGS = new Set(["h1", "h2", "h3", "h4", "h5", "h6", "p", "ul", "ol", "li", "blockquote", "em", "strong", "s",
  "code", "pre", "br", "hr", "table", "thead", "tbody", "tr", "th", "td"]);
const ALIGNED = new Set(["left", "center", "right"]);

export const markdown = (nodes) => el("div", { class: "markdown", dir: "auto" }, nodes.map(element));

function element(node) {
  if (typeof node === "string") return node;
  const children = node.children.map(element);
  if (node.tag === "a" && /^(https?:\/\/|mailto:)/i.test(node.href)) {
    return el("a", { href: node.href, rel: "noopener noreferrer nofollow" }, children);
  }
  if (!TAGS.has(node.tag)) return el("span", {}, children);
  // Below the page's own headings.
  const tag = /^h[1-4]$/.test(node.tag) ? `h${Number(node.tag[1]) + 2}` : node.tag;
  return el(tag, { class: ALIGNED.has(node.align) ? `to-${node.align}` : undefined }, children);
}
