// Parts of a finished or growing log: one to read, or all of them as a file.

import { fetchBytes } from "./http.js";

export const PART_BYTES = 2_000_000;
const LONGEST_LINE_BYTES = 65_536; // a longer one is cut at the border of two parts

export const logPath = (stepId, attempt) =>
  `/api/steps/${encodeURIComponent(stepId)}/log?attempt=${attempt}`;

export const partsOf = (size) => Math.max(1, Math.ceil(size / PART_BYTES));

/** Bytes stored so far, told with an answer that holds none of them. */
export async function logSize(path, signal) {
  const { response } = await fetchBytes(`${path}&offset=${Number.MAX_SAFE_INTEGER}`, { signal });
  return Number(response.headers.get("Log-Size"));
}

/** The text of part `index`. Each line is in one part only: in the one in which it begins. */
export async function readPart(path, index, signal) {
  const start = index * PART_BYTES;
  const end = start + PART_BYTES + LONGEST_LINE_BYTES;
  const { bytes } = await fetchBytes(path, { signal, headers: { Range: `bytes=${start}-${end - 1}` } });
  const from = index === 0 ? 0 : lineAfter(bytes, 0);
  return new TextDecoder().decode(bytes.subarray(from, lineAfter(bytes, PART_BYTES)));
}

function lineAfter(bytes, position) {
  if (position >= bytes.length) return bytes.length;
  const newline = bytes.indexOf(10, position);
  return newline < 0 ? Math.min(bytes.length, position + LONGEST_LINE_BYTES) : newline + 1;
}

/** Everything stored so far, as a Blob, which the browser keeps on disk when it is large. */
export async function wholeLog(path) {
  const parts = [];
  let offset = 0;
  for (;;) {
    const { bytes } = await fetchBytes(`${path}&offset=${offset}`);
    if (bytes.length === 0) return new Blob(parts, { type: "text/plain" });
    parts.push(new Blob([bytes]));
    offset += bytes.length;
  }
}
