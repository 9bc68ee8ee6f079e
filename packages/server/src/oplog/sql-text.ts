/**
 * A string literal for a simple query. It may not hold U+0000 (see stored-text.ts). Right whatever
 * `standard_conforming_strings` says: a backslash switches to the `E''` form.
 */
export function sqlLiteral(value: string): string {
  const quoted = value.includes("'") ? value.replaceAll("'", "''") : value;
  return quoted.includes("\\") ? ` E'${quoted.replaceAll("\\", "\\\\")}'` : `'${quoted}'`;
}

const COPY_ESCAPES: Readonly<Record<string, string>> = { "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t" };
const COPY_SPECIAL = /[\\\n\r\t]/;
const COPY_SPECIAL_ALL = /[\\\n\r\t]/g;

/** A field of COPY's text format (https://www.postgresql.org/docs/current/sql-copy.html, "Text Format"). */
export function copyField(value: string | null): string {
  if (value === null) return "\\N";
  if (!COPY_SPECIAL.test(value)) return value;
  return value.replace(COPY_SPECIAL_ALL, (character) => COPY_ESCAPES[character] ?? character);
}
