// The coordinator's HTTP API: answers as values, refusals as errors, and the server's clock.

const LONGEST_ANSWER_MS = 75_000; // more than the longest hold (50 s); a dead connection ends here

let clockAheadMs = 0;

/** Now, by the server's clock: durations stay right on a machine whose clock is wrong. */
export const serverNow = () => Date.now() + clockAheadMs;

/** The server answered, and said no. */
export class Refused extends Error {
  constructor(status, message, details = []) {
    super(message);
    this.status = status;
    this.details = details;
  }
}

/** No answer: the network, or a coordinator that restarts. Worth another try. */
export class Unreachable extends Error {}

export async function fetchJson(path, options = {}) {
  const response = await answer(path, options);
  return response.status === 204 ? null : arrived(response.json());
}

/** Bytes and the response they came with. */
export async function fetchBytes(path, options = {}) {
  const response = await answer(path, options);
  return { response, bytes: new Uint8Array(await arrived(response.arrayBuffer())) };
}

export function toLogin() {
  const here = location.pathname + location.search + location.hash;
  location.replace(`/login?next=${encodeURIComponent(here)}`);
}

async function answer(path, { method = "GET", headers, signal, json }) {
  const limit = AbortSignal.timeout(LONGEST_ANSWER_MS);
  const response = await arrived(
    fetch(path, {
      method,
      headers: json === undefined ? headers : { ...headers, "Content-Type": "application/json" },
      body: json === undefined ? undefined : JSON.stringify(json),
      cache: "no-store",
      signal: signal ? AbortSignal.any([signal, limit]) : limit,
    }),
  );
  readClock(response);
  if (response.ok) return response;
  if (response.status === 401) {
    toLogin();
    await new Promise(() => {}); // the page is being left: nothing more to do on it
  }
  if (response.status >= 500 || response.status === 429) {
    throw new Unreachable(`the coordinator answered ${response.status}`);
  }
  throw await refusal(response);
}

async function refusal(response) {
  const body = await response.json().catch(() => ({}));
  return new Refused(
    response.status,
    body.error ?? `The coordinator answered ${response.status} ${response.statusText}`,
    body.details,
  );
}

/** fetch() reports a broken network as TypeError, which must not be taken for a mistake of ours. */
async function arrived(promise) {
  try {
    return await promise;
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Unreachable(error.message);
  }
}

function readClock(response) {
  const date = Date.parse(response.headers.get("Date") ?? "");
  if (Number.isNaN(date)) return;
  const ahead = date - Date.now();
  clockAheadMs = Math.abs(ahead) > 2_000 ? ahead : 0; // the header counts whole seconds
}
