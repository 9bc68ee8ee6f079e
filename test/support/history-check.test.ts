import { expect, test } from "vitest";
import { HistoryCheck, type HistoryRow } from "./history-check.ts";
import { GENERATION } from "./workload.ts";

let position = 0;

function upsert(docId: string, seq: number, origin = "stream"): HistoryRow {
  return { position: ++position, operation: "upsert", docId, origin, seq };
}

function removal(docId: string): HistoryRow {
  return { position: ++position, operation: "delete", docId, origin: "stream", seq: null };
}

function violationsOf(rows: readonly HistoryRow[], isGapless = false): number {
  const check = new HistoryCheck({ isGapless });
  for (const row of rows) check.add(row);
  return check.report().violationCount;
}

test("a history that only goes forward is fine, repeated states included", () => {
  expect(violationsOf([upsert("a", 1), upsert("a", 1, "copy"), upsert("b", 5), upsert("a", 7)])).toBe(0);
});

test("a copy row with an older state is found", () => {
  expect(violationsOf([upsert("a", 7), upsert("a", 6, "copy")])).toBe(1);
});

test("a deleted document that comes back is found, one that is inserted anew is not", () => {
  expect(violationsOf([upsert("a", GENERATION + 3), removal("a"), upsert("a", GENERATION + 3, "copy")])).toBe(1);
  expect(violationsOf([upsert("a", GENERATION + 3), removal("a"), upsert("a", 2 * GENERATION)])).toBe(0);
});

test("positions that fall or are missing are found", () => {
  const rows = [upsert("a", 1), upsert("a", 2), upsert("a", 3)];
  expect(violationsOf(rows.toReversed().map((row, index) => ({ ...row, seq: index })))).toBe(2);
  expect(violationsOf([rows[0]!, rows[2]!])).toBe(0);
  expect(violationsOf([rows[0]!, rows[2]!], true)).toBe(1);
});
