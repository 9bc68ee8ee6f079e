import { BSON } from "mongodb";
import type { ClusterTime } from "./cluster-time.ts";

/**
 * Cluster time inside a resume token, where the server is known to put it there; else null. MongoDB's `_data` is hex
 * of a key string that begins with the type byte 0x82 (timestamp) and its eight bytes, big-endian (MongoDB source,
 * `resume_token.cpp`). Other servers' tokens stay opaque: SecantusDB's begin otherwise.
 */
export function tokenTimeOf(token: Uint8Array): ClusterTime | null {
  const data: unknown = BSON.deserialize(token)["_data"];
  if (typeof data !== "string" || !/^82[0-9A-F]{16}/.test(data)) return null;
  return BigInt(`0x${data.slice(2, 18)}`);
}
