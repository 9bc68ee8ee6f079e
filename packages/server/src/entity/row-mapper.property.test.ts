import { COLUMN_TYPES } from "@emcache/protocol";
import { EJSON, ObjectId, serialize } from "bson";
import fc from "fast-check";
import { expect, test } from "vitest";
import { compileRowMapper } from "./row-mapper.ts";
import { arbitraryDocument, arbitrarySteps } from "./testing/arbitrary-document.ts";
import { makeEntity } from "./testing/make-entity.ts";
import { referenceColumn, referenceDocument, referenceMatch } from "./testing/reference-row.ts";

function pathOf(steps: readonly (string | number)[]): string {
  return `$${steps.map((step) => `[${typeof step === "number" ? step : JSON.stringify(step)}]`).join("")}`;
}

test("every column type of every plain path gives what the slow reference gives", () => {
  fc.assert(
    fc.property(arbitraryDocument, fc.array(arbitrarySteps, { minLength: 1, maxLength: 5 }), (fields, paths) => {
      const columns = paths.flatMap((steps) => COLUMN_TYPES.map((type) => ({ type, steps })));
      const mapper = compileRowMapper(makeEntity(columns.map(({ type, steps }) => [type, pathOf(steps)])));
      const _id = new ObjectId();
      const bytes = Buffer.from(serialize({ _id, ...fields, ...ownProto(fields) }));
      const document = referenceDocument(bytes);
      const expected = columns.map(({ type, steps }) => referenceColumn(type, referenceMatch(document, steps)));
      const row = mapper.map(bytes);
      if (row.docId === null) throw new Error("no id");
      expect(row.docId).toBe(_id.toHexString());
      expect(row.data).toBe(`[${expected.map((text) => text ?? "null").join(",")}]`);
      expect(row.rejects.map((reject) => reject.column)).toEqual(
        expected.flatMap((text, index) => (text === undefined ? [`c${index}`] : [])),
      );
      expect(() => JSON.parse(row.data) as unknown).not.toThrow();
    }),
    { numRuns: 1500 },
  );
});

/** A spread copies `__proto__` as a field only when it is an own property of the literal's source; keep it that way. */
function ownProto(fields: object): object {
  return Object.hasOwn(fields, "__proto__") ? fields : {};
}

test("relaxed Extended JSON of a document means the same to the bson library", () => {
  fc.assert(
    fc.property(arbitraryDocument, (fields) => {
      const bytes = Buffer.from(serialize({ _id: 1, ...fields }));
      const row = compileRowMapper(makeEntity([["jsonb", "$"]])).map(bytes);
      if (row.docId === null) throw new Error("no id");
      fc.pre(!ESCAPED_KEY.test(row.data));
      const theirs: unknown = JSON.parse(EJSON.stringify(referenceDocument(bytes), { relaxed: true }));
      const [ours] = JSON.parse(row.data) as unknown[];
      expect(JSON.stringify(withoutProto(ours))).toBe(JSON.stringify(withoutProto(theirs)));
    }),
    { numRuns: 1500 },
  );
});

/**
 * V8's JSON.parse mixes up keys that are written with an escape (https://github.com/nodejs/node/issues/63785, Node 24 and
 * 26), on either side of the comparison. The first test compares them as text.
 */
const ESCAPED_KEY = /\\(?:[^"\\]|\\.)*":/;

/** EJSON.stringify loses keys named `__proto__` and the sign of -0. */
function withoutProto(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutProto);
  if (value === 0) return 0;
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).flatMap(([key, child]) => (key === "__proto__" ? [] : [[key, withoutProto(child)]])),
  );
}

test("no bytes make the mapper throw", () => {
  const mapper = compileRowMapper(
    makeEntity([
      ["jsonb", "$"],
      ["any", "$.a.b[-1]"],
      ["string", "$..c"],
    ]),
  );
  fc.assert(
    fc.property(
      arbitraryDocument,
      fc.array(fc.tuple(fc.nat(), fc.nat(255)), { maxLength: 6 }),
      fc.nat(),
      (fields, changes, cut) => {
        const bytes = Buffer.from(serialize({ _id: 1, ...fields }));
        for (const [position, byte] of changes) bytes[position % bytes.length] = byte;
        for (const damaged of [bytes, bytes.subarray(0, cut % (bytes.length + 1))]) {
          const row = mapper.map(damaged);
          if (row.docId === null) expect(row.rejects).toHaveLength(1);
          else expect(() => JSON.parse(row.data) as unknown).not.toThrow();
          for (const reject of row.rejects) expect(reject.sample.length).toBeLessThanOrEqual(200);
          mapper.mapKey(damaged);
        }
      },
    ),
    { numRuns: 3000 },
  );
});
