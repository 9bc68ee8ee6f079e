/**
 * How any JavaScript string lies in a PostgreSQL `text` column, which can hold neither U+0000 nor lone surrogates. A
 * string that has one, or that begins with the mark itself, is stored as the mark U+0001 and its JSON text, whose
 * escapes are plain ASCII; all others are stored as they are, readable by any SQL tool.
 */
const MARK = "\u0001";

/** The text to store. `fromStoredText` gives back exactly what came in. */
export function toStoredText(value: string): string {
  if (!value.includes("\0") && value.isWellFormed() && value.charCodeAt(0) !== 1) return value;
  return MARK + JSON.stringify(value);
}

/** The string that was stored. */
export function fromStoredText(stored: string): string {
  return stored.charCodeAt(0) === 1 ? (JSON.parse(stored.slice(1)) as string) : stored;
}
