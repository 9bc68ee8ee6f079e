import { Binary, Decimal128, deserialize, Double, Int32, Long, ObjectId } from "bson";

/** BSON types as they matter for a column. */
export type ValueKind =
  | "string"
  | "Int32"
  | "Int64"
  | "Double"
  | "Decimal128"
  | "bool"
  | "Date"
  | "ObjectId"
  | "UUID"
  | "document"
  | "array"
  | "other";

/** What was found in one place of the documents. */
export interface FieldFacts {
  /** Names from the document down. */
  readonly steps: readonly string[];
  /** Documents that have a value there, null not counted. */
  readonly found: number;
  readonly kinds: ReadonlySet<ValueKind>;
}

/** Documents in documents are columns of their own down to here. */
const DEPTH_MAX = 3;
/** A document of more names than this is rather a map, whose names are data. */
const NAMES_MAX = 30;

/** One place, with the places inside where it holds documents. */
class Field implements FieldFacts {
  readonly steps: readonly string[];
  readonly kinds = new Set<ValueKind>();
  readonly inside = new Map<string, Field>();
  found = 0;

  constructor(steps: readonly string[]) {
    this.steps = steps;
  }

  add(value: unknown): void {
    if (value === null || value === undefined) return;
    this.found += 1;
    const kind = kindOf(value);
    this.kinds.add(kind);
    // One name more than counts is enough to know that it is a map.
    if (kind === "document") addNames(this.inside, this.steps, value, NAMES_MAX + 1);
  }

  /** Itself, or the places inside where it holds nothing but documents of a few names. */
  leaves(): FieldFacts[] {
    const isDocument = this.kinds.size === 1 && this.kinds.has("document");
    const isSplit =
      isDocument && this.steps.length < DEPTH_MAX && this.inside.size > 0 && this.inside.size <= NAMES_MAX;
    return isSplit ? [...this.inside.values()].flatMap((field) => field.leaves()) : [this];
  }
}

function addNames(fields: Map<string, Field>, steps: readonly string[], document: object, namesMax: number): void {
  for (const [name, value] of Object.entries(document)) {
    let field = fields.get(name);
    if (field === undefined) {
      if (fields.size >= namesMax) continue;
      field = new Field([...steps, name]);
      fields.set(name, field);
    }
    field.add(value);
  }
}

/** Gathers what documents of a collection hold, place by place. */
export class DocumentFields {
  readonly #fields = new Map<string, Field>();

  /** `bytes`: one BSON document. */
  add(bytes: Buffer): void {
    const document = deserialize(bytes, { promoteValues: false, validation: { utf8: false } });
    addNames(this.#fields, [], document, Infinity);
  }

  idKinds(): ReadonlySet<ValueKind> {
    return this.#fields.get("_id")?.kinds ?? new Set();
  }

  /** The places that can be columns, in the order in which documents have them. */
  leaves(): FieldFacts[] {
    return [...this.#fields.values()].flatMap((field) => (field.steps[0] === "_id" ? [] : field.leaves()));
  }
}

function kindOf(value: unknown): ValueKind {
  switch (typeof value) {
    case "string":
      return "string";
    case "boolean":
      return "bool";
    case "object":
      return kindOfObject(value as object);
    default:
      return "other";
  }
}

function kindOfObject(value: object): ValueKind {
  if (Array.isArray(value)) return "array";
  if (value instanceof Int32) return "Int32";
  if (value instanceof Long && (value as { _bsontype: string })._bsontype === "Long") return "Int64";
  if (value instanceof Double) return "Double";
  if (value instanceof Decimal128) return "Decimal128";
  if (value instanceof Date) return "Date";
  if (value instanceof ObjectId) return "ObjectId";
  if (value instanceof Binary) return value.sub_type === Binary.SUBTYPE_UUID ? "UUID" : "other";
  return "_bsontype" in value ? "other" : "document";
}
