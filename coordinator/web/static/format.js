// Numbers as people read them. Pure.

/** `0.4 s`, `12 s`, `3 min 05 s`, `2 h 07 min`. */
export function duration(milliseconds) {
  const seconds = Math.max(0, milliseconds) / 1000;
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  if (seconds < 59.5) return `${Math.round(seconds)} s`;
  const whole = Math.round(seconds);
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return `${minutes} min ${two(whole % 60)} s`;
  return `${Math.floor(minutes / 60)} h ${two(minutes % 60)} min`;
}

const two = (number) => String(number).padStart(2, "0");

const SPANS = [
  [86_400 * 365, "year"],
  [86_400 * 30, "month"],
  [86_400, "day"],
  [3_600, "hour"],
  [60, "minute"],
];
const relative = new Intl.RelativeTimeFormat("en", { numeric: "auto" });

/** `just now`, `5 minutes ago`, `yesterday`. */
export function ago(milliseconds) {
  const seconds = Math.max(0, milliseconds) / 1000;
  const span = SPANS.find(([length]) => seconds >= length);
  return span ? relative.format(-Math.floor(seconds / span[0]), span[1]) : "just now";
}

/** `512 B`, `1.4 KB`, `20 MB`: powers of ten, as disks and networks count. */
export function bytes(count) {
  const units = ["B", "KB", "MB", "GB", "TB"];
  let size = count;
  let unit = 0;
  while (size >= 999.5 && unit < units.length - 1) {
    size /= 1000;
    unit += 1;
  }
  return `${unit && size < 9.95 ? size.toFixed(1) : Math.round(size)} ${units[unit]}`;
}

export const firstLine = (text) => text.split("\n", 1)[0];

export const restOfLines = (text) => text.slice(firstLine(text).length).trim();

export const shortCommit = (sha) => sha.slice(0, 8);
