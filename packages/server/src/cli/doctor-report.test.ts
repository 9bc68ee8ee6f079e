import { expect, test } from "vitest";
import { reportClock } from "./doctor-clock.ts";
import { reportWindow } from "./doctor-mongo.ts";
import { DoctorReport, doctorLines } from "./doctor-report.ts";

test("a check that hangs ends in time, with what it had found; one that throws is told; no password is", async () => {
  const hanging = await doctorLines("PostgreSQL", 20, async (report) => {
    report.ok("connection", "reached mongodb://u:hunter2@h");
    await new Promise(() => undefined);
  });
  expect(hanging.map(({ status, check, message }) => [status, check, message])).toEqual([
    ["ok", "connection", "reached mongodb://u:***@h"],
    ["fail", "answer", "it did not answer within 0.02 s"],
  ]);
  const broken = await doctorLines("disk", 1_000, async () => {
    throw new Error("at mongodb://u:hunter2@h");
  });
  expect(broken).toEqual([
    expect.objectContaining({ part: "disk", status: "fail", message: "at mongodb://u:***@h", fix: expect.any(String) }),
  ]);
});

test.each([
  // The server may have read its clock at any moment of the question's way.
  ["ok", 1_500, /agrees/],
  ["ok", -900, /agrees/],
  ["warn", 62_000, /60\.0 s ahead of/],
  ["warn", -3_000, /3\.0 s behind/],
])("a clock: %s at %i ms", (status, aheadMs, message) => {
  const report = new DoctorReport("source main");
  reportClock({ askedMs: 1_000_000, serverMs: 1_000_000 + aheadMs, answeredMs: 1_002_000 }, report);
  expect(report.lines).toEqual([expect.objectContaining({ status, message: expect.stringMatching(message) })]);
});

test.each([
  ["ok", 0.5, true, "0.5 hours so far, and not full yet"],
  ["ok", 24, false, "24 hours: for so long EMCache may be away from this source"],
  ["warn", 2.25, false, "2.3 hours: if EMCache is away from this source for longer, its entities are copied anew"],
])("an oplog window: %s at %d hours", (status, hours, isFilling, message) => {
  const report = new DoctorReport("source main");
  reportWindow(hours, isFilling, report);
  expect(report.lines).toEqual([expect.objectContaining({ status, message })]);
});
