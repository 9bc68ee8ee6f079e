import { hash } from "node:crypto";
import { relaxedJson } from "./relaxed-json.ts";
import type { BsonSlot } from "./bson-value.ts";
import { valueEnd } from "./bson-value.ts";

/** BSON's type bytes are below. */
const FIRST = 256;

/** The oplog keeps it as a signed 32-bit integer. */
const COUNT = 2 ** 31 - FIRST;

/**
 * In place of the BSON type where the key is a part of `_id`: equal for equal `_id`s (numbers as MongoDB compares
 * them), and for two different ones equal once in two thousand million. A cache takes rows of one key and two
 * discriminators for what they are, two documents, as it does with rows of two types (invariant 8).
 */
export function idDiscriminator(bytes: Buffer, { type, start }: BsonSlot): number {
  const end = valueEnd(bytes, type, start, bytes.length);
  const text = relaxedJson(bytes, type, start, end, { integralDoublesPlain: true });
  return FIRST + (hash("sha256", text, "buffer").readUInt32LE(0) % COUNT);
}
