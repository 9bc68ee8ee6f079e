import type { Column, Entity, IdColumn } from "@emcache/protocol";
import { JSONPathError, type JSONPathQuery, type JSONValue } from "json-p3";
import { BSON_TYPE_MISSING } from "./bson-type.ts";
import { BsonError, type BsonSlot } from "./bson-value.ts";
import { COLUMN_ENCODERS, type ColumnEncoder, refusalReason } from "./column-encoder.ts";
import { docIdText, idReason } from "./doc-id.ts";
import { documentView, locate } from "./document-view.ts";
import { idDiscriminator } from "./id-discriminator.ts";
import { compileJsonPath, JsonPathMistake } from "./json-path.ts";
import { PathTrie } from "./path-trie.ts";
import { documentSample, rejectSample } from "./reject-sample.ts";
import type { Reject } from "./reject.ts";

/** A document as a row, or why it has no place in the table. */
export type MappedRow =
  | {
      /** The primary key as text. */
      readonly docId: string;
      /** BSON type byte of `_id`; for a key that is a part of `_id`, what tells whole `_id`s apart (`idDiscriminator`). */
      readonly idType: number;
      /** JSON text of an array with one value a column, in the shape's order. */
      readonly data: string;
      /** The columns whose value did not fit and is NULL. */
      readonly rejects: readonly Reject[];
    }
  | { readonly docId: null; readonly rejects: readonly Reject[] };

/** The key of a change event's `documentKey`, or why there is none. */
export type MappedKey =
  | { readonly docId: string; readonly idType: number }
  | { readonly docId: null; readonly reject: Reject };

/**
 * Turns BSON documents into rows of one entity version. Neither method throws for what a document holds: a value that
 * does not fit is NULL and a reject; a document that is malformed or has no usable key is a reject alone.
 * Not re-entrant; the results are plain values that stay valid.
 */
export interface RowMapper {
  /** Id of the entity's version. */
  readonly version: number;
  /** `document`: the bytes of one whole BSON document. */
  map(document: Uint8Array): MappedRow;
  /** `documentKey`: the bytes of `{_id: …}`, shard key fields beside it allowed. */
  mapKey(documentKey: Uint8Array): MappedKey;
}

/** Compiles an entity's shape once; throws `JsonPathMistake` for paths that `validateEntity` would have refused. */
export function compileRowMapper(entity: Entity): RowMapper {
  return new CompiledRowMapper(entity);
}

/** One column, ready to run: how its value is written and, where its path is not plain, how it is found. */
interface ColumnPlan {
  readonly column: Column;
  readonly encode: ColumnEncoder;
  readonly query: JSONPathQuery | null;
}

const NO_REJECTS: readonly Reject[] = [];
/** The id's path is the trie's first, column i has number i + 1. */
const ID_SLOT = 0;

class CompiledRowMapper implements RowMapper {
  readonly version: number;
  readonly #idColumn: IdColumn;
  readonly #plans: readonly ColumnPlan[];
  readonly #trie: PathTrie;
  readonly #keyTrie: PathTrie;
  /** Whether the key is a part of `_id`: its place in either trie is the last one. */
  readonly #isPartOfId: boolean;
  readonly #hasQueries: boolean;

  constructor(entity: Entity) {
    this.version = entity.id;
    this.#idColumn = entity.shape.id_column;
    const idSteps = compileJsonPath(this.#idColumn.path).steps;
    if (idSteps === null) throw new JsonPathMistake("an id column's path holds names and indexes only");
    const paths = entity.shape.columns.map((column) => compileJsonPath(column.path));
    this.#plans = entity.shape.columns.map((column, index) => {
      const path = paths[index]!;
      return { column, encode: COLUMN_ENCODERS[column.type], query: path.steps === null ? path.query : null };
    });
    this.#hasQueries = this.#plans.some((plan) => plan.query !== null);
    this.#isPartOfId = idSteps.length > 1;
    const wholeId = this.#isPartOfId ? [["_id"]] : [];
    this.#trie = new PathTrie([idSteps, ...paths.map((path) => path.steps), ...wholeId]);
    this.#keyTrie = new PathTrie([idSteps, ...wholeId]);
  }

  map(document: Uint8Array): MappedRow {
    const bytes = asBuffer(document);
    const key = this.#key(bytes, this.#trie);
    if (key.docId === null) return { docId: null, rejects: [key.reject] };
    const rejects: Reject[] = [];
    if (this.#hasQueries) this.#runQueries(bytes, key.docId, rejects);
    const { types, starts } = this.#trie;
    let data = "[";
    for (let index = 0; index < this.#plans.length; index++) {
      const plan = this.#plans[index]!;
      const text = this.#column(plan, bytes, types[index + 1]!, starts[index + 1]!, key.docId, rejects);
      data += index === 0 ? text : `,${text}`;
    }
    const { docId, idType } = key;
    return { docId, idType, data: `${data}]`, rejects: rejects.length === 0 ? NO_REJECTS : rejects };
  }

  mapKey(documentKey: Uint8Array): MappedKey {
    return this.#key(asBuffer(documentKey), this.#keyTrie);
  }

  #key(bytes: Buffer, trie: PathTrie): MappedKey {
    const { path, type: keyType } = this.#idColumn;
    let sampled = documentSample;
    try {
      trie.extract(bytes);
      const idType = trie.types[ID_SLOT]!;
      const start = trie.starts[ID_SLOT]!;
      if (idType !== BSON_TYPE_MISSING) sampled = () => rejectSample(bytes, idType, start);
      const docId = docIdText(keyType, bytes, idType, start);
      if (docId !== null) return { docId, idType: this.#isPartOfId ? discriminatorIn(bytes, trie) : idType };
      return { docId: null, reject: this.#reject("", null, idReason(path, idType), sampled(bytes)) };
    } catch (error) {
      if (!(error instanceof BsonError)) throw error;
      return { docId: null, reject: this.#reject("", null, error.message, sampled(bytes)) };
    }
  }

  /** Puts what the paths that are not plain match into their places of the trie. */
  #runQueries(bytes: Buffer, docId: string, rejects: Reject[]): void {
    let view: JSONValue;
    let failure: string | null = null;
    try {
      view = documentView(bytes);
    } catch (error) {
      failure = mistakeOf(error);
    }
    for (const [index, { column, query }] of this.#plans.entries()) {
      if (query === null) continue;
      try {
        const match = failure === null ? firstMatch(query, bytes, view) : null;
        this.#trie.types[index + 1] = match?.type ?? BSON_TYPE_MISSING;
        this.#trie.starts[index + 1] = match?.start ?? 0;
        if (failure === null) continue;
        rejects.push(this.#reject(docId, column.name, failure, documentSample(bytes)));
      } catch (error) {
        rejects.push(this.#reject(docId, column.name, mistakeOf(error), documentSample(bytes)));
      }
    }
  }

  /** JSON text of one column's value; `null` and a reject where it does not fit. */
  #column(plan: ColumnPlan, bytes: Buffer, type: number, start: number, docId: string, rejects: Reject[]): string {
    const { column, encode } = plan;
    let reason: string;
    try {
      const text = encode(bytes, type, start);
      if (text !== null) return text;
      reason = refusalReason(column.type, bytes, type, start);
    } catch (error) {
      reason = mistakeOf(error);
    }
    rejects.push(this.#reject(docId, column.name, reason, rejectSample(bytes, type, start)));
    return "null";
  }

  #reject(docId: string, column: string | null, reason: string, sample: string): Reject {
    return { version: this.version, docId, column, reason, sample };
  }
}

function discriminatorIn(bytes: Buffer, { types, starts }: PathTrie): number {
  const slot = types.length - 1;
  return idDiscriminator(bytes, { type: types[slot] ?? BSON_TYPE_MISSING, start: starts[slot] ?? 0 });
}

/** The first match that is a value of the document and not of the view alone. */
function firstMatch(query: JSONPathQuery, bytes: Buffer, view: JSONValue): BsonSlot | null {
  for (const node of query.lazyQuery(view)) {
    const slot = locate(bytes, node.location);
    if (slot !== null) return slot;
  }
  return null;
}

/** The message of what a document's bytes or a path run over them can throw; rethrows anything else. */
function mistakeOf(error: unknown): string {
  if (error instanceof BsonError || error instanceof JSONPathError) return error.message;
  throw error;
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
