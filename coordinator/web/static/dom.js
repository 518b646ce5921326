// Elements from values. Text only ever goes in as text: nothing here parses HTML.

/** An element; properties set attributes, except `on…` listeners. Strings become text. */
export function el(name, properties = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...present(children));
  return element;
}

/** Replace what `element` holds; absent children are left out. */
export function fill(element, ...children) {
  element.replaceChildren(...present(children));
}

const present = (children) =>
  children.flat().filter((child) => child !== undefined && child !== null && child !== false);

/**
 * Words of outsiders (branch, message, author): set apart, so that right-to-left characters in
 * them can't reorder the words around.
 */
export const outsider = (text, properties = {}) => el("bdi", properties, text);

const shown = new WeakMap();

/**
 * Make `parent` hold one element for each item, in order. An element stays the same as long as
 * its key does, and is only drawn again when its item changed: focus and selection survive.
 */
export function list(parent, items, { key, create, draw }) {
  const old = new Map([...parent.children].map((element) => [element.dataset.key, element]));
  let place = parent.firstElementChild;
  for (const item of items) {
    const name = key(item);
    const element = old.get(name) ?? keyed(create(item), name);
    old.delete(name);
    if (element === place) place = place.nextElementSibling;
    else parent.insertBefore(element, place);
    const state = JSON.stringify(item);
    if (shown.get(element) !== state) draw(element, item);
    shown.set(element, state);
  }
  for (const element of old.values()) element.remove();
}

function keyed(element, key) {
  element.dataset.key = key;
  return element;
}

/** A button that copies what `text()` gives, and says that it did. */
export function copyButton(text) {
  const button = el("button", { type: "button", class: "copy" }, "Copy");
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text());
      button.textContent = "Copied";
    } catch {
      button.textContent = "Press Ctrl+C"; // browsers give the clipboard to https and localhost only
      getSelection().selectAllChildren(button.parentElement.querySelector("code"));
    }
    setTimeout(() => (button.textContent = "Copy"), 2_000);
  });
  return button;
}

/** Commands or a file to copy, as one block. */
export const codeBlock = (text) =>
  el("div", { class: "code" }, el("pre", {}, el("code", {}, text)), copyButton(() => text));
