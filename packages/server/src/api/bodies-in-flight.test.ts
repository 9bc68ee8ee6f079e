import { expect, test } from "vitest";
import { BodiesInFlight } from "./bodies-in-flight.ts";

test("a body counts once however many are sent it, until the last has it", () => {
  const bodies = new BodiesInFlight(100);
  const shared = Buffer.alloc(60);
  const [first, second] = [bodies.take(shared), bodies.take(shared)];
  expect(bodies.bytes).toBe(60);
  expect(() => bodies.take(Buffer.alloc(41))).toThrow("have not taken");
  const third = bodies.take(Buffer.alloc(40));
  first();
  first();
  expect(bodies.bytes).toBe(100);
  second();
  expect(bodies.bytes).toBe(40);
  third();
  expect(bodies.bytes).toBe(0);
});

test("one that is larger than the bound is sent alone", () => {
  const bodies = new BodiesInFlight(100);
  const release = bodies.take(Buffer.alloc(500));
  expect(() => bodies.take(Buffer.alloc(1))).toThrow("have not taken");
  release();
  expect(bodies.bytes).toBe(0);
});
