import { decodeTyped } from "../bson/codec.ts";
import { keyOfValue } from "../bson/key-string.ts";
import { valuesAt } from "../query/field-path.ts";

/**
 * A unique index: which document holds a combination of values. A field that is an array counts by each element, as
 * in MongoDB's multikey indexes; of several such fields only their first elements are combined (approximated).
 */
export class UniqueIndex {
  readonly #fields: readonly string[];
  readonly #isSparse: boolean;
  readonly #holders = new Map<string, string>();

  constructor(fields: readonly string[], isSparse: boolean) {
    this.#fields = fields;
    this.#isSparse = isSparse;
  }

  /** Whether another document than `key` holds what this one would. */
  conflictsWith(key: string, bytes: Buffer): boolean {
    return this.#keysOf(bytes).some((value) => (this.#holders.get(value) ?? key) !== key);
  }

  replace(key: string, before: Buffer | null, after: Buffer | null): void {
    if (before !== null) for (const value of this.#keysOf(before)) this.#holders.delete(value);
    if (after !== null) for (const value of this.#keysOf(after)) this.#holders.set(value, key);
  }

  #keysOf(bytes: Buffer): string[] {
    const document = decodeTyped(bytes);
    const columns = this.#fields.map((field) => indexedValues(document, field));
    if (this.#isSparse && columns.every((values) => values.length === 0)) return [];
    let keys = [""];
    for (const values of columns) {
      const parts = values.length === 0 ? [keyOfValue(null)] : values.map(keyOfValue);
      keys = keys.flatMap((key) => parts.map((part) => `${key}${part}`));
    }
    return keys;
  }
}

function indexedValues(document: Parameters<typeof valuesAt>[0], field: string): unknown[] {
  return valuesAt(document, field).flatMap((value) => (Array.isArray(value) && value.length > 0 ? value : [value]));
}
