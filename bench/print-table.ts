/** One line of the result: what, how much, and what it is to be compared with. */
export interface Measurement {
  readonly what: string;
  readonly value: string;
  readonly beside: string;
}

/** Prints the measurements as a Markdown table, its columns aligned. */
export function printTable(measurements: readonly Measurement[]): void {
  const header = { what: "measured", value: "value", beside: "beside it, in the same run" };
  const rows = [header, ...measurements];
  const width = (key: keyof Measurement): number => Math.max(...rows.map((row) => row[key].length));
  const [what, value, beside] = [width("what"), width("value"), width("beside")];
  const line = (row: Measurement): string =>
    `| ${row.what.padEnd(what)} | ${row.value.padEnd(value)} | ${row.beside.padEnd(beside)} |`;
  console.log(line(header));
  console.log(`|${"-".repeat(what + 2)}|${"-".repeat(value + 2)}|${"-".repeat(beside + 2)}|`);
  for (const row of measurements) console.log(line(row));
}

/** The value below which `share` (0 to 1) of the values lie. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}

export function median(values: readonly number[]): number {
  return quantile(values, 0.5);
}

export function perSecond(count: number, ms: number): number {
  return (count / ms) * 1_000;
}

/** `12,345/s` */
export function rateText(rate: number): string {
  return `${Math.round(rate).toLocaleString("en-US")}/s`;
}

/** `1.23 ms` */
export function msText(ms: number): string {
  return `${ms.toFixed(2)} ms`;
}
