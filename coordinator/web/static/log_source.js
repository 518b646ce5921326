// Reads a log from the coordinator: its tail first, then what comes, as it comes.

import { fetchBytes } from "./http.js";
import { DONE } from "./live.js";
import { PART_BYTES } from "./log_parts.js";

const HOLD_SECONDS = 25;
const SHORTEST_TURN_MS = 100;
const EMPTY_TURN_MS = 1_000; // after an answer that was not held and brought nothing

export class LogSource {
  #path;
  #view;
  #started;
  #decoder = new TextDecoder("utf-8", { ignoreBOM: true });

  /** Bytes of the log known to exist, all of them read from where reading began. */
  size = null;

  /** `view` draws; `started(offset)` hears once where in the log reading began. */
  constructor({ path, view, started }) {
    this.#path = path;
    this.#view = view;
    this.#started = started;
  }

  /** One request and what it brought; for `live`. */
  async turn(signal) {
    const asked = performance.now();
    const response = await (this.size === null ? this.#readTail(signal) : this.#readMore(signal));
    if (signal.aborted) return 0;
    const took = performance.now() - asked;
    await this.#view.drawn();
    if (isComplete(response, this.size)) {
      this.#view.append(this.#decoder.decode());
      return DONE;
    }
    return Math.max(0, SHORTEST_TURN_MS - took, response.empty ? EMPTY_TURN_MS - took : 0);
  }

  async #readTail(signal) {
    const { response, bytes } = await fetchBytes(this.#path, {
      signal,
      headers: { Range: `bytes=-${PART_BYTES}` },
    });
    if (signal.aborted) return response;
    const start = response.status === 206 ? rangeStart(response) : 0;
    const held = response.status === 416 ? bytes.subarray(0, 0) : bytes;
    this.size = start + held.length;
    this.#started(start);
    this.#show(start > 0 ? fromNextLine(held) : held);
    return { headers: response.headers, empty: false };
  }

  async #readMore(signal) {
    const path = `${this.#path}&offset=${this.size}&wait=${HOLD_SECONDS}`;
    const { response, bytes } = await fetchBytes(path, { signal });
    if (signal.aborted) return response;
    this.size += bytes.length;
    this.#show(bytes);
    return { headers: response.headers, empty: bytes.length === 0 };
  }

  #show(bytes) {
    const text = this.#decoder.decode(bytes, { stream: true });
    if (text) this.#view.append(text);
  }
}

/** A tail begins inside a line, maybe inside a character. */
const fromNextLine = (bytes) => bytes.subarray(bytes.indexOf(10) + 1);

/** `Content-Range: bytes 100-199/200` → 100. */
const rangeStart = (response) =>
  Number(/^bytes (\d+)-/.exec(response.headers.get("Content-Range"))?.[1] ?? 0);

/** At most 4 MiB come at once: the log is read to its end only when its last byte is here. */
function isComplete({ headers }, size) {
  return headers.get("Log-Complete") === "true" && Number(headers.get("Log-Next-Offset") ?? size) <= size;
}
