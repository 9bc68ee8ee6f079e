const COUNT = new Intl.NumberFormat("en-US");
const DATE = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "medium" });
const TIME = new Intl.DateTimeFormat("en-GB", { timeStyle: "medium" });
const BYTE_UNITS = ["B", "kB", "MB", "GB", "TB", "PB"];

/** Stands where nothing is known. */
export const UNKNOWN = "–";

export function formatCount(value: number | null): string {
  return value === null ? UNKNOWN : COUNT.format(value);
}

/** Events a second: a decimal below 10, none above. */
export function formatRate(perS: number | null): string {
  if (perS === null) return UNKNOWN;
  if (perS === 0) return "0";
  return perS < 9.95 ? perS.toFixed(1) : COUNT.format(Math.round(perS));
}

/** Milliseconds as the unit that reads best. */
export function formatDuration(ms: number | null): string {
  if (ms === null) return UNKNOWN;
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(1)} s`;
  if (ms < 3_600_000) return `${Math.floor(ms / 60_000)} min ${Math.floor((ms % 60_000) / 1000)} s`;
  if (ms < 86_400_000) return `${Math.floor(ms / 3_600_000)} h ${Math.floor((ms % 3_600_000) / 60_000)} min`;
  return `${Math.floor(ms / 86_400_000)} d ${Math.floor((ms % 86_400_000) / 3_600_000)} h`;
}

/** Decimal units, as disks are sold and cache files listed. */
export function formatBytes(bytes: number | null): string {
  if (bytes === null) return UNKNOWN;
  let value = bytes;
  let unit = 0;
  while (value >= 999.5 && unit < BYTE_UNITS.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${unit === 0 || value >= 99.5 ? Math.round(value) : value.toFixed(1)} ${BYTE_UNITS[unit] ?? ""}`;
}

/** RFC 3339 as the reader's date and time. */
export function formatDate(text: string): string {
  return DATE.format(new Date(text));
}

/** RFC 3339 as the reader's time of day. */
export function formatTime(text: string): string {
  return TIME.format(new Date(text));
}

/** How long ago a moment was; the machines' clocks may differ by a little. */
export function formatAgo(text: string, nowMs: number): string {
  return formatDuration(Math.max(nowMs - Date.parse(text), 0));
}
