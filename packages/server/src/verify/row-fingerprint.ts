import { createHash } from "node:crypto";
import type { SqliteValue } from "@emcache/cache-file";
import type { ColumnType } from "@emcache/protocol";

/** A value with its storage class, as one text. */
export function cellText(value: SqliteValue): string {
  if (value === null) return "n";
  if (typeof value === "bigint") return `i${value}`;
  // 0 and -0 are one number to SQLite.
  if (typeof value === "number") return `r${value === 0 ? 0 : value}`;
  return `t${value}`;
}

/** A value that is bound as what SQLite makes of it in a column of this type (its affinity). */
export function storedValue(value: SqliteValue, type: ColumnType): SqliteValue {
  if (typeof value === "number" && (type === "integer" || type === "bool")) {
    return Number.isSafeInteger(value) ? BigInt(value) : value;
  }
  return type === "number" && typeof value === "bigint" ? Number(value) : value;
}

/** Equal for rows that hold the same values, and for no others in practice (SHA-256). */
export function rowFingerprint(values: readonly SqliteValue[]): string {
  const hash = createHash("sha256");
  for (const value of values) {
    const cell = cellText(value);
    hash.update(`${cell.length}:`).update(cell);
  }
  return hash.digest("base64");
}
