import { BSON } from "mongodb";
import { expect, test } from "vitest";
import { SplitEventAssembler } from "./split-event.ts";

function fragment(number: number, of: number, fields: object): Buffer {
  return Buffer.from(
    BSON.serialize({ _id: { _data: `token ${number}` }, splitEvent: { fragment: number, of }, ...fields }),
  );
}

function whole(bytes: Buffer | null): unknown {
  return bytes === null ? null : BSON.deserialize(bytes);
}

test("an event that was not split passes as it is", () => {
  const event = Buffer.from(BSON.serialize({ _id: { _data: "a" }, operationType: "insert" }));
  expect(new SplitEventAssembler().take(event)).toBe(event);
});

test("fragments become one event with all fields and the last token", () => {
  const assembler = new SplitEventAssembler();
  expect(assembler.take(fragment(1, 3, { operationType: "update" }))).toBeNull();
  expect(assembler.isOpen).toBe(true);
  expect(assembler.take(fragment(2, 3, { fullDocument: { _id: 1, a: 2 } }))).toBeNull();
  expect(whole(assembler.take(fragment(3, 3, { documentKey: { _id: 1 } })))).toMatchObject({
    _id: { _data: "token 3" },
    operationType: "update",
    fullDocument: { _id: 1, a: 2 },
    documentKey: { _id: 1 },
  });
  expect(assembler.isOpen).toBe(false);
});

test("repeated fragments are dropped up to the next whole event", () => {
  const assembler = new SplitEventAssembler();
  assembler.take(fragment(1, 2, { operationType: "update" }));
  expect(assembler.take(fragment(2, 2, {}))).not.toBeNull();
  expect(assembler.take(fragment(2, 2, {}))).toBeNull();
  expect(assembler.isOpen).toBe(false);
  expect(assembler.take(fragment(1, 1, { operationType: "delete" }))).not.toBeNull();
});

test("an event that begins anew replaces what was begun", () => {
  const assembler = new SplitEventAssembler();
  assembler.take(fragment(1, 2, { operationType: "update" }));
  assembler.take(fragment(1, 2, { operationType: "replace" }));
  expect(whole(assembler.take(fragment(2, 2, { fullDocument: { a: 1 } })))).toMatchObject({ operationType: "replace" });
});
