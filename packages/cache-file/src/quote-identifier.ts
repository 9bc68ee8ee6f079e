/** An identifier as SQLite reads it whatever it holds: in double quotes, quotes inside doubled. */
export function quoteIdentifier(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}
