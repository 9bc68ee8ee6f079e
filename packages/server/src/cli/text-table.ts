/** A column of a table for the terminal. */
export interface TableColumn {
  readonly heading: string;
  readonly align: "left" | "right";
}

/** Lines of a table: headings, then one a row, columns apart by two spaces. `paint` colours a cell after it was fitted. */
export function tableLines(
  columns: readonly TableColumn[],
  rows: readonly (readonly string[])[],
  paint: (cell: string, column: number, row: number | null) => string = (cell) => cell,
): string[] {
  const widths = columns.map(({ heading }, column) =>
    Math.max(heading.length, ...rows.map((row) => (row[column] ?? "").length)),
  );
  const line = (cells: readonly string[], row: number | null): string =>
    cells
      .map((cell, column) => {
        const width = widths[column] ?? 0;
        const isLast = column === columns.length - 1;
        const fitted = columns[column]?.align === "right" ? cell.padStart(width) : isLast ? cell : cell.padEnd(width);
        return paint(fitted, column, row);
      })
      .join("  ")
      .trimEnd();
  return [
    line(
      columns.map(({ heading }) => heading),
      null,
    ),
    ...rows.map((row, index) => line(row, index)),
  ];
}
