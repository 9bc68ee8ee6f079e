import type { Operation, Origin } from "@emcache/protocol";

/** One character each in the log's rows. */
export const OPERATION_CODES: Readonly<Record<Operation, string>> = {
  upsert: "u",
  delete: "d",
  sync_start: "s",
  sync_end: "e",
};

/** One character each in the log's rows. */
export const ORIGIN_CODES: Readonly<Record<Origin, string>> = { copy: "c", stream: "s" };

/** The operation of a code; null for a code that this version of EMCache doesn't know. */
export function operationOf(code: string): Operation | null {
  switch (code) {
    case "u":
      return "upsert";
    case "d":
      return "delete";
    case "s":
      return "sync_start";
    case "e":
      return "sync_end";
    default:
      return null;
  }
}

/** The origin of a code; null for a code that this version of EMCache doesn't know. */
export function originOf(code: string): Origin | null {
  return code === "c" ? "copy" : code === "s" ? "stream" : null;
}
