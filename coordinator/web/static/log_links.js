// Addresses in a log's text. Pure: nothing but whole http and https addresses becomes a link.

const MAX_ADDRESS_CHARACTERS = 2048;
const ADDRESS = /\bhttps?:\/\/[^\s<>"'`\u0000-\u0020\u007f-\u00a0\u200b-\u200f\u2028-\u202e\u2066-\u2069]+/gi;
const AFTER_AN_ADDRESS = /[.,;:!?*_~|\\]$/;
const BRACKETS = { ")": "(", "]": "[", "}": "{" };

/** The address as the browser understands it, or null for what is none that a log may lead to. */
export function addressOf(text) {
  if (text.length > MAX_ADDRESS_CHARACTERS || !/^https?:\/\//i.test(text)) return null;
  try {
    const url = new URL(text);
    return url.protocol === "https:" || url.protocol === "http:" ? url.href : null;
  } catch {
    return null;
  }
}

/** Where OSC 8 (`8;parameters;address`, without its beginning and end) leads from here on: an
 * address, or null where it ends a link or leads where none may. */
export function linkOf(command) {
  const [, , ...rest] = command.split(";");
  return addressOf(rest.join(";"));
}

/** The text in pieces `{text, link}`; `link` is null between the addresses in it. */
export function piecesOf(text) {
  if (!text.includes("://")) return [{ text, link: null }];
  const pieces = [];
  let from = 0;
  for (const { 0: found, index } of text.matchAll(ADDRESS)) {
    const written = withoutEnd(found);
    const link = addressOf(written);
    if (!link) continue;
    if (index > from) pieces.push({ text: text.slice(from, index), link: null });
    pieces.push({ text: written, link });
    from = index + written.length;
  }
  if (from < text.length) pieces.push({ text: text.slice(from), link: null });
  return pieces;
}

/** Less what belongs to the sentence around it. */
function withoutEnd(address) {
  let end = address;
  while (AFTER_AN_ADDRESS.test(end) || isUnopened(end)) end = end.slice(0, -1);
  return end;
}

function isUnopened(address) {
  const opening = BRACKETS[address.at(-1)];
  return opening !== undefined && address.split(opening).length < address.split(address.at(-1)).length;
}
