/** A column is shown up to this many characters; `--json` shows all. */
const WIDTH_MAX = 60;

interface Answer {
  readonly columns: readonly string[];
  readonly rows: readonly (readonly unknown[])[];
  readonly truncated: boolean;
}

/** The answer of the query route as a table for a terminal, and what is to be said of it. */
export function renderRows(json: string): { readonly table: string; readonly note: string | null } {
  const { columns, rows, truncated } = JSON.parse(json, keepDigits) as Answer;
  const lines = [columns, ...rows.map((row) => row.map(shown))].map((line) => line.map(short));
  const widths = columns.map((_, column) => Math.max(...lines.map((line) => line[column]?.length ?? 0)));
  const isNumeric = columns.map((_, column) => rows.every((row) => isNumber(row[column])));
  const [head = [], ...body] = lines.map((line) =>
    line.map((cell, column) => {
      const width = widths[column] ?? 0;
      return isNumeric[column] === true ? cell.padStart(width) : cell.padEnd(width);
    }),
  );
  const rule = widths.map((width) => "-".repeat(width));
  const table = [head, rule, ...body].map((line) => `${line.join("  ").trimEnd()}\n`).join("");
  return { table, note: truncated ? `There are more rows than these ${rows.length}; see --limit.` : null };
}

function shown(cell: unknown): string {
  if (cell === null) return "NULL";
  if (typeof cell === "string") return cell;
  return typeof cell === "bigint" ? String(cell) : JSON.stringify(cell);
}

/** On one line, without what would steer a terminal. */
function short(text: string): string {
  const line = text.replaceAll(/\p{Cc}/gu, "·");
  return line.length > WIDTH_MAX ? `${line.slice(0, WIDTH_MAX - 1)}…` : line;
}

function isNumber(cell: unknown): boolean {
  return cell === null || typeof cell === "number" || typeof cell === "bigint";
}

/** A reviver that keeps integers beyond 2^53. */
function keepDigits(_key: string, value: unknown, context?: { readonly source?: string }): unknown {
  if (typeof value !== "number" || Number.isSafeInteger(value) || !Number.isInteger(value)) return value;
  return context?.source !== undefined && /^-?\d+$/.test(context.source) ? BigInt(context.source) : value;
}
