// Reads a log from the coordinator: first its end, then what comes, as it comes.

import { fetchBytes } from "./http.js";
import { DONE } from "./live.js";
import { logSize, PART_BYTES } from "./log_parts.js";

const HOLD_SECONDS = 25;
const SHORTEST_TURN_MS = 100;
const EMPTY_TURN_MS = 1_000; // after an answer that was not held and brought nothing

export class LogSource {
  #path;
  #view;
  #started;
  #decoder = new TextDecoder("utf-8", { ignoreBOM: true });

  /** Offset up to which the log was read; null before the first answer. */
  size = null;

  /** `view` draws; `started(offset)` hears once from where on the log is read. */
  constructor({ path, view, started }) {
    this.#path = path;
    this.#view = view;
    this.#started = started;
  }

  /** One request and what it brought; for `live`. */
  async turn(signal, mayHold) {
    const asked = performance.now();
    const first = this.size === null;
    const start = first ? await this.#start(signal) : this.size;
    const held = mayHold && !first;
    const { response, bytes } = await this.#read(start, held ? HOLD_SECONDS : 0, signal);
    if (signal.aborted) return 0;
    if (first) this.#started(start);
    this.size = start + bytes.length;
    this.#show(first && start > 0 ? fromNextLine(bytes) : bytes);
    const took = performance.now() - asked;
    await this.#view.placed();
    if (isComplete(response, this.size)) {
      this.#view.append(this.#decoder.decode());
      return DONE;
    }
    return Math.max(0, (held && !bytes.length ? EMPTY_TURN_MS : SHORTEST_TURN_MS) - took);
  }

  /** Where the part begins that is shown first. */
  async #start(signal) {
    const size = await logSize(this.#path, signal);
    return Math.max(0, size - PART_BYTES);
  }

  #read(offset, waitSeconds, signal) {
    return fetchBytes(`${this.#path}&offset=${offset}&wait=${waitSeconds}`, { signal });
  }

  #show(bytes) {
    const text = this.#decoder.decode(bytes, { stream: true });
    if (text) this.#view.append(text);
  }
}

/** The end of a log begins inside a line, maybe inside a character. */
const fromNextLine = (bytes) => bytes.subarray(bytes.indexOf(10) + 1);

/** At most 4 MiB come at once: the log is read to its end only when its last byte is here. */
function isComplete({ headers }, size) {
  return headers.get("Log-Complete") === "true" && Number(headers.get("Log-Next-Offset") ?? size) <= size;
}
