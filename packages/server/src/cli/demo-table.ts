/** One entity as the demo's terminal shows it. */
export interface DemoRow {
  readonly name: string;
  readonly rows: number | null;
  readonly lagMs: number | null;
  /** Events a second; null until two readings were made. */
  readonly perS: number | null;
  readonly state: string;
}

const COUNT = new Intl.NumberFormat("en-US");
const HEADINGS = ["ENTITY", "ROWS", "LAG", "EVENTS/S", "STATE"] as const;
const BOLD = "\u001b[1m";
const DIM = "\u001b[2m";
const GREEN = "\u001b[32m";
const YELLOW = "\u001b[33m";
const PLAIN = "\u001b[0m";

/** The table as lines, with colours for a terminal. */
export function renderTable(rows: readonly DemoRow[]): string[] {
  const cells = rows.map((row) => [row.name, ...figures(row), row.state]);
  const widths = HEADINGS.map((heading, column) =>
    Math.max(heading.length, column === 1 ? 9 : 8, ...cells.map((line) => line[column]?.length ?? 0)),
  );
  const line = (values: readonly string[]): string[] =>
    values.map((value, column) => {
      const width = widths[column] ?? 0;
      return column === 0 || column === HEADINGS.length - 1 ? value.padEnd(width) : value.padStart(width);
    });
  const heading = `  ${DIM}${line(HEADINGS).join("   ")}${PLAIN}`;
  const body = cells.map((values) => {
    const [name = "", ...rest] = line(values);
    const state = rest.pop() ?? "";
    return `  ${BOLD}${name}${PLAIN}   ${rest.join("   ")}   ${state.trim() === "live" ? GREEN : YELLOW}${state}${PLAIN}`;
  });
  return [heading, ...body];
}

/** One line for a log or a pipe. */
export function renderPlain(rows: readonly DemoRow[]): string {
  return rows
    .map((row) => {
      const [count = "", lag = "", perS = ""] = figures(row);
      return `${row.name}: ${count} rows, lag ${lag}, ${perS} events/s, ${row.state}`;
    })
    .join(" | ");
}

function figures({ rows, lagMs, perS }: DemoRow): string[] {
  return [
    rows === null ? "-" : COUNT.format(rows),
    lagMs === null ? "-" : lagMs < 10_000 ? `${lagMs} ms` : `${(lagMs / 1000).toFixed(1)} s`,
    perS === null ? "-" : perS.toFixed(1),
  ];
}
