import { expect, test } from "vitest";
import { type CommittedBatch, pageOfBatch } from "../oplog/committed-batch.ts";
import { HandedPages } from "./handed-pages.ts";
import { WakeWord } from "./wake-word.ts";

function batch(firstPosition: number, count: number, logId = "log"): CommittedBatch {
  const rows = Array.from({ length: count }, (_, index) => ({
    version: 1,
    operation: "upsert" as const,
    docId: `d${firstPosition + index}`,
    idType: 2,
    origin: "stream" as const,
    transaction: null,
    transactionEnd: false,
    data: "[1]",
  }));
  return {
    logId,
    firstPosition,
    tag: `t${firstPosition}`,
    previousTag: `t${firstPosition - 1}`,
    createdAt: null,
    rows,
  };
}

function handed(...batches: CommittedBatch[]): { pages: HandedPages; word: WakeWord } {
  const word = new WakeWord();
  const pages = new HandedPages(word);
  for (const one of batches) if (word.offerBatch()) pages.add(pageOfBatch(one));
  return { pages, word };
}

test("a reader just before a batch gets it as a page with its place in the history", () => {
  const { pages } = handed(batch(11, 2));
  expect(pages.take(10, "log")).toMatchObject({ position: 12, tag: "t11", tagAtFrom: "t10", full: false });
  expect(pages.take(10, "log")).toBeNull();
});

test("a reader elsewhere, or of another log, reads the log", () => {
  expect(handed(batch(11, 2)).pages.take(9, "log")).toBeNull();
  expect(handed(batch(11, 2)).pages.take(11, "log")).toBeNull();
  expect(handed(batch(11, 2, "other")).pages.take(10, "log")).toBeNull();
});

test("a page says that there is more where the log was heard to go further", () => {
  const { pages, word } = handed(batch(11, 2), batch(13, 1));
  word.wake(13);
  expect(pages.take(10, "log")).toMatchObject({ position: 12, head: 13, full: true });
  expect(pages.take(12, "log")).toMatchObject({ position: 13, head: 13, full: false });
});

test("only so many batches are under way; passed ones make room", () => {
  const { pages, word } = handed();
  let sent = 0;
  while (word.offerBatch()) pages.add(pageOfBatch(batch(++sent, 1)));
  expect(sent).toBe(16);
  expect(pages.take(sent, "log")).toBeNull();
  expect(word.offerBatch()).toBe(true);
});
