import { compileRowDecoder, idTypeClass, type RowDecoder, type SqliteValue } from "@emcache/cache-file";
import type { ColumnType, Entity } from "@emcache/protocol";
import { EntityRouting, type Target } from "../source/entity-routing.ts";
import { findElement, singleElementDocument } from "../source/raw-document.ts";
import { storedValue } from "./row-fingerprint.ts";

/** The row that a document of the source is to have. */
export interface ExpectedRow {
  readonly docId: string;
  /** Class of the BSON type of its id. */
  readonly idClass: number;
  /** BSON document `{_id: …}`. */
  readonly documentKey: Buffer;
  /** One a column, as SQLite stores them. */
  readonly values: readonly SqliteValue[];
}

/** What an entity's definition makes of documents, by the same mapper as the capture's. */
export class ExpectedRows {
  readonly target: Target;
  readonly #types: readonly ColumnType[];
  readonly #decode: RowDecoder;

  constructor(entity: Entity) {
    const routing = new EntityRouting();
    routing.update([entity]);
    const target = routing.target(entity.id);
    if (target === null) throw new RangeError(`version ${entity.id} has no mapping`);
    this.target = target;
    this.#types = entity.shape.columns.map(({ type }) => type);
    this.#decode = compileRowDecoder(entity.shape.columns);
  }

  /** Null for a document that has no row: it is a reject, or not the entity's. */
  of(document: Buffer): ExpectedRow | null {
    const { mapper, onReject } = this.target;
    if (!this.#isWanted(document)) return null;
    const row = mapper.map(document);
    const id = findElement(document, "_id");
    if (row.docId === null || id === null || (row.rejects.length > 0 && onReject !== "null")) return null;
    return {
      docId: row.docId,
      idClass: idTypeClass(row.idType),
      documentKey: singleElementDocument("_id", id.type, document.subarray(id.valueStart, id.valueEnd)),
      values: this.valuesOf(row.data),
    };
  }

  /** The values of a row of the log. */
  valuesOf(data: string): SqliteValue[] {
    const values: SqliteValue[] = [];
    this.#decode(data, values);
    return values.map((value, index) => storedValue(value, this.#types[index] ?? "any"));
  }

  #isWanted(document: Buffer): boolean {
    const { filter } = this.target;
    if (filter === null) return true;
    try {
      return filter.matches(document);
    } catch {
      // What the filter can't read is a reject, and has no row.
      return false;
    }
  }
}
