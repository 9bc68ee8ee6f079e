import { EmcacheError } from "@emcache/protocol";

/** With a zone: a time without one would mean another moment on each machine. */
const RFC_3339 = /^\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}:\d{2}(?:\.\d+)?(?:[Zz]|[+-]\d{2}:\d{2})$/;

/** Numbers from here on are milliseconds: as seconds they would be in the year 5138. */
const MILLISECONDS_FROM = 100_000_000_000;

/**
 * A time as whole seconds since 1970 (cluster times know no finer ones): RFC 3339 with a zone, or a number of seconds
 * or milliseconds since 1970.
 *
 * @throws EmcacheError `bad_request`
 */
export function parseTime(text: string): number {
  const isNumber = /^\d{1,16}(?:\.\d+)?$/.test(text);
  // A plus sign in a query string arrives as a blank.
  const written = text.replace(/ (\d{2}:\d{2})$/, "+$1");
  const number = Number(text);
  const timeMs = isNumber
    ? number >= MILLISECONDS_FROM
      ? number
      : number * 1000
    : RFC_3339.test(written)
      ? Date.parse(written)
      : Number.NaN;
  if (Number.isFinite(timeMs)) return Math.floor(timeMs / 1000);
  throw new EmcacheError(
    "bad_request",
    `time is ${JSON.stringify(text.slice(0, 60))}; it must be like 2026-01-31T12:00:00Z, or seconds since 1970`,
  );
}
