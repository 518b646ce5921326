// Loops that keep a page up to date: one request at a time, none while nobody looks.

import { Refused, Unreachable } from "./http.js";

export const DONE = Symbol("nothing more will change");

const FIRST_RETRY_MS = 500;
const LONGEST_RETRY_MS = 30_000;

/**
 * Call `turn(signal, mayHold)` again and again while the tab is visible; it answers the
 * milliseconds to wait, or DONE. Turns never overlap, and one whose signal is aborted must change
 * nothing: so an old answer can't overwrite a newer one. After a failure `mayHold` is false: an
 * answer at once tells that the server is back. A refusal ends the loop and goes to `refused`.
 * `wake()` of what is returned begins a turn now.
 */
export function live(turn, refused) {
  let running = null;
  let over = false;

  async function run(signal) {
    let failures = 0;
    while (!signal.aborted) {
      let delay;
      try {
        delay = await turn(signal, failures === 0);
        failures = 0;
        reachable(turn);
      } catch (error) {
        if (signal.aborted) return;
        if (error instanceof Refused) {
          stop();
          refused(error);
          return;
        }
        if (!(error instanceof Unreachable)) throw error;
        failures += 1;
        delay = retryDelay(failures);
        unreachable(turn);
      }
      if (delay === DONE) {
        stop();
        return;
      }
      await pause(delay, signal);
    }
  }

  function wake() {
    running?.abort();
    running = null;
    if (over || document.hidden) return;
    running = new AbortController();
    run(running.signal);
  }

  function stop() {
    over = true;
    running?.abort();
    reachable(turn);
    document.removeEventListener("visibilitychange", wake);
    window.removeEventListener("online", wake);
  }

  document.addEventListener("visibilitychange", wake);
  window.addEventListener("online", wake);
  wake();
  return { stop, wake };
}

/** Exponential, with jitter so that many tabs don't come back to a restarted server at once. */
export function retryDelay(failures, random = Math.random()) {
  const longest = Math.min(LONGEST_RETRY_MS, FIRST_RETRY_MS * 2 ** (failures - 1));
  return longest * (0.5 + random / 2);
}

export function pause(milliseconds, signal) {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve();
    const done = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, milliseconds);
    signal.addEventListener("abort", done);
  });
}

const lost = new Set();

function reachable(turn) {
  if (lost.delete(turn) && lost.size === 0) showConnection("");
}

function unreachable(turn) {
  lost.add(turn);
  showConnection("The coordinator can’t be reached. Trying again…");
}

function showConnection(text) {
  document.getElementById("connection").textContent = text;
}
