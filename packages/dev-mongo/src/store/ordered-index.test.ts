import fc from "fast-check";
import { expect, test } from "vitest";
import { OrderedIndex, type StoredDocument } from "./ordered-index.ts";

const NOTHING = Buffer.alloc(0);

function keyOf(number: number): string {
  return String(number).padStart(6, "0");
}

function keysOf(index: OrderedIndex, low: string | null = null, high: string | null = null): string[] {
  const scan = index.scan(low, high);
  const keys: string[] = [];
  for (let next = scan.next(); next !== null; next = scan.next()) keys.push(next.key);
  return keys;
}

test("holds the same keys, in order, as a sorted set, whatever is inserted and removed", () => {
  const steps = fc.array(fc.tuple(fc.boolean(), fc.integer({ min: 0, max: 3_000 })), { maxLength: 5_000, size: "max" });
  fc.assert(
    fc.property(steps, fc.integer({ min: 0, max: 3_000 }), (changes, bound) => {
      const index = new OrderedIndex();
      const model = new Map<string, StoredDocument>();
      for (const [isRemoval, number] of changes) {
        const key = keyOf(number);
        if (isRemoval) {
          index.remove(key);
          model.delete(key);
        } else if (!model.has(key)) {
          const document = { key, bytes: NOTHING };
          index.insert(document);
          model.set(key, document);
        }
      }
      const sorted = [...model.keys()].toSorted();
      expect(index.size).toBe(sorted.length);
      expect(keysOf(index)).toEqual(sorted);
      const key = keyOf(bound);
      expect(keysOf(index, key)).toEqual(sorted.filter((other) => other >= key));
      expect(keysOf(index, null, key)).toEqual(sorted.filter((other) => other < key));
      expect([...index.backward(null, key)].map((document) => document.key)).toEqual(
        sorted.filter((other) => other < key).toReversed(),
      );
    }),
    { numRuns: 20 },
  );
});

test("a scan that pauses sees what is inserted ahead, and nothing twice", () => {
  const changes = fc.array(fc.tuple(fc.nat(2_500), fc.boolean()), { minLength: 100, maxLength: 600, size: "max" });
  fc.assert(
    fc.property(changes, (writes) => {
      const index = new OrderedIndex();
      const present = new Set<string>();
      for (let number = 0; number < 2_500; number += 2) {
        index.insert({ key: keyOf(number), bytes: NOTHING });
        present.add(keyOf(number));
      }
      const scan = index.scan(null, null);
      const seen: string[] = [];
      let position = "";
      for (const [number, isRemoval] of writes) {
        const key = keyOf(number);
        if (isRemoval && present.delete(key)) index.remove(key);
        else if (!isRemoval && !present.has(key)) {
          present.add(key);
          index.insert({ key, bytes: NOTHING });
        }
        const expected = [...present].filter((other) => other > position).toSorted()[0];
        const next = scan.next();
        expect(next?.key).toBe(expected);
        if (next === null) break;
        position = next.key;
        seen.push(position);
      }
      expect(new Set(seen).size).toBe(seen.length);
    }),
    { numRuns: 10 },
  );
});
