import { type JSONValue, compile } from "json-p3";
import type { BsonDocument, BsonNode } from "./bson-node.ts";
import { relaxedJsonOf } from "./canonical-json.ts";
import type { ColumnTypeName } from "./emcache-api.ts";

/** What one cell should hold, as `TYPE:value`; `JSON:` stands for TEXT whose value counts, not its spelling. */
export type Cell = string;

/** A cell, and whether its value was refused: then it is NULL and a reject. */
export interface MappedCell {
  readonly cell: Cell;
  readonly isRejected: boolean;
}

const NULL: MappedCell = { cell: "NULL", isRejected: false };
const REFUSED: MappedCell = { cell: "NULL", isRejected: true };
const INT64_MAX = 2n ** 63n - 1n;
const INT64_MIN = -(2n ** 63n);
/** JavaScript's dates end there; later ones have no ISO 8601 text of ours. */
const DATE_MS_MAX = 8_640_000_000_000_000n;

/** The cell of a column of that type, by the table "Types" of the architecture. `undefined`: the path found nothing. */
export function mapCell(type: ColumnTypeName, node: BsonNode | undefined): MappedCell {
  if (node === undefined || node.kind === "null" || node.kind === "undefined") return NULL;
  switch (type) {
    case "string":
      return cellOf("TEXT", textOf(node));
    case "integer":
      return cellOf("INTEGER", integerOf(node));
    case "number":
      return realCell(node);
    case "bool":
      return node.kind === "bool" ? cellOf("INTEGER", node.value ? "1" : "0") : REFUSED;
    case "jsonb":
      return { cell: `JSON:${relaxedJsonOf(node)}`, isRejected: false };
    case "any":
      return anyCell(node);
  }
}

/** The primary key as text (`string`) or as digits (`number`); null where it can't be one. */
export function mapId(type: "string" | "number", node: BsonNode | undefined): string | null {
  if (node === undefined) return null;
  const number = numberKey(node);
  if (type === "number") return number !== null && /^-?\d+$/.test(number) && isInt64(BigInt(number)) ? number : null;
  if (number !== null) return number;
  // A date that has no text, like a document, still has its Extended JSON.
  return textOf(node) ?? relaxedJsonOf(node);
}

/** The first value that a path finds. */
export function compilePath(path: string): (document: BsonDocument) => BsonNode | undefined {
  const query = compile(path);
  return (document) => {
    const first = query.query(plainDocument(document) as JSONValue).nodes[0];
    if (first === undefined) return undefined;
    let node: BsonNode | undefined = document;
    for (const step of first.location) node = child(node, step);
    return node;
  };
}

function child(node: BsonNode | undefined, step: string | number): BsonNode | undefined {
  if (node?.kind === "array") return node.items[Number(step)];
  // Of a name that stands twice the last counts, as in JSON.
  return node?.kind === "document" ? node.fields.findLast(([name]) => name === step)?.[1] : undefined;
}

/** Stands for what JSONPath can't look into. */
const OPAQUE = Symbol("opaque");

const plainDocuments = new WeakMap<BsonDocument, unknown>();

/** `plainOf`, once a document however many paths look into it. */
function plainDocument(document: BsonDocument): unknown {
  let plain = plainDocuments.get(document);
  if (plain === undefined) {
    plain = plainOf(document);
    plainDocuments.set(document, plain);
  }
  return plain;
}

/** The document as JSON values for JSONPath; what JSON has no word for is opaque. */
function plainOf(node: BsonNode): unknown {
  switch (node.kind) {
    case "document":
      return Object.fromEntries(node.fields.map(([name, value]) => [name, plainOf(value)]));
    case "array":
      return node.items.map(plainOf);
    case "string":
    case "bool":
    case "double":
      return node.value;
    case "int32":
    case "int64":
      return Number(node.value);
    case "null":
      return null;
    default:
      return OPAQUE;
  }
}

function cellOf(type: string, value: string | null): MappedCell {
  return value === null ? REFUSED : { cell: `${type}:${value}`, isRejected: false };
}

function anyCell(node: BsonNode): MappedCell {
  switch (node.kind) {
    case "string":
    case "objectId":
    case "date":
    case "decimal128":
      return cellOf("TEXT", textOf(node));
    case "int32":
    case "int64":
    case "bool":
      return cellOf("INTEGER", integerOf(node));
    case "double":
      return realCell(node);
    case "binary": {
      const text = textOf(node);
      return text === null ? { cell: `JSON:${relaxedJsonOf(node)}`, isRejected: false } : cellOf("TEXT", text);
    }
    default:
      return { cell: `JSON:${relaxedJsonOf(node)}`, isRejected: false };
  }
}

function realCell(node: BsonNode): MappedCell {
  switch (node.kind) {
    case "double":
      return realOf(node.value);
    case "int32":
    case "int64":
      return realOf(Number(node.value));
    case "decimal128":
      return realOf(Number(node.text));
    default:
      return REFUSED;
  }
}

function realOf(value: number): MappedCell {
  return Number.isFinite(value) ? { cell: `REAL:${realCellText(value)}`, isRejected: false } : REFUSED;
}

/** A double by its bits. SQLite keeps integral doubles as integers, which have no negative zero. */
export function realCellText(value: number): string {
  const bytes = Buffer.alloc(8);
  bytes.writeDoubleBE(value === 0 ? 0 : value);
  return `${value} ${bytes.toString("hex")}`.replace(/^-0 /, "0 ");
}

function textOf(node: BsonNode): string | null {
  switch (node.kind) {
    case "string":
      return node.value;
    case "objectId":
      return node.hex;
    case "date":
      return node.ms > DATE_MS_MAX || node.ms < -DATE_MS_MAX ? null : new Date(Number(node.ms)).toISOString();
    case "decimal128":
      return node.text;
    case "int32":
    case "int64":
      return node.value.toString();
    case "double":
      return Object.is(node.value, -0) ? "-0" : String(node.value);
    case "bool":
      return String(node.value);
    case "binary": {
      if (node.subType !== 4 || node.bytes.length !== 16) return null;
      return node.bytes.toString("hex").replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
    }
    default:
      return null;
  }
}

function integerOf(node: BsonNode): string | null {
  switch (node.kind) {
    case "int32":
    case "int64":
      return node.value.toString();
    case "double":
      return Number.isInteger(node.value) && isInt64(BigInt(node.value)) ? BigInt(node.value).toString() : null;
    case "date":
      return node.ms.toString();
    case "bool":
      return node.value ? "1" : "0";
    default:
      return null;
  }
}

/** The one text of all numbers that MongoDB holds equal; null for what is not a number. */
function numberKey(node: BsonNode): string | null {
  switch (node.kind) {
    case "int32":
    case "int64":
      return node.value.toString();
    case "double":
      return Number.isInteger(node.value) && Math.abs(node.value) < 1e21
        ? BigInt(node.value).toString()
        : String(node.value);
    case "decimal128":
      return decimalKey(node.text);
    default:
      return null;
  }
}

function decimalKey(text: string): string {
  const match = /^(-?)(\d+)(?:\.(\d+))?(?:E([+-]\d+))?$/.exec(text);
  if (match === null) return text;
  const [, sign = "", whole = "", fraction = "", exponentText = "0"] = match;
  let digits = BigInt(whole + fraction);
  let exponent = Number(exponentText) - fraction.length;
  if (digits === 0n) return "0";
  while (digits % 10n === 0n) {
    digits /= 10n;
    exponent += 1;
  }
  if (exponent >= 0 && digits.toString().length + exponent <= 21) return `${sign}${digits * 10n ** BigInt(exponent)}`;
  // A tenth is not a double, yet both are written 0.1: equal only to itself, and printed as it is.
  return exponent < 0 && exponent > -7 ? `${sign}${plainFraction(digits, exponent)}` : text;
}

function plainFraction(digits: bigint, exponent: number): string {
  const padded = digits.toString().padStart(1 - exponent, "0");
  return `${padded.slice(0, exponent)}.${padded.slice(exponent)}`;
}

function isInt64(value: bigint): boolean {
  return value >= INT64_MIN && value <= INT64_MAX;
}
