import { BSON_QUERY_OPERATORS } from "@emcache/dev-mongo/query-operators";
import { type DocumentFilter, EmcacheError } from "@emcache/protocol";
import { BSON, BSONRegExp } from "bson";
import { shown } from "./mistake-list.ts";

type Predicate = (document: unknown) => boolean;

/** An entity's filter, ready for the source and for the documents of the stream. */
export interface CompiledFilter {
  /** What a `find` takes: the filter with its BSON types. */
  readonly query: Readonly<Record<string, unknown>>;
  /** Whether the document is the entity's. Throws where its bytes are no BSON document. */
  matches(document: Uint8Array): boolean;
}

/** Deeper ones are written by no one, and each level is a call. */
const DEPTH_MAX = 20;

/** The operators on one path. They mean what they mean to MongoDB (manual, "Query and Projection Operators"). */
const FIELD_OPERATORS = ["$eq", "$ne", "$gt", "$gte", "$lt", "$lte", "$in", "$nin", "$exists"] as const;

const LOGICAL: Readonly<Record<string, (predicates: readonly Predicate[]) => Predicate>> = {
  $and: (predicates) => (document) => predicates.every((test) => test(document)),
  $or: (predicates) => (document) => predicates.some((test) => test(document)),
  $nor: (predicates) => (document) => !predicates.some((test) => test(document)),
};

/**
 * Compiles an entity's filter. The subset is what both MongoDB and this process decide alike without collations,
 * indexes or scripts; comparison is BSON's own (1 = 1.0 = Int64 1; `$gt` only within a type), by dev-mongo's operators,
 * which the conformance suite holds against real servers.
 *
 * @throws EmcacheError entity_invalid, its message names what is not simple
 */
export function compileDocumentFilter(filter: DocumentFilter): CompiledFilter {
  const query = typed(filter);
  const predicate = compileQuery(query, 0);
  return {
    query,
    matches: (document) =>
      predicate(BSON.deserialize(document, { promoteValues: false, promoteBuffers: false, bsonRegExp: true })),
  };
}

/** Extended JSON as BSON's classes: a date is `{"$date": …}`, an ObjectId `{"$oid": …}`. */
function typed(filter: DocumentFilter): Record<string, unknown> {
  try {
    return BSON.EJSON.deserialize({ ...filter }, { relaxed: false }) as Record<string, unknown>;
  } catch (error) {
    throw mistake(`holds what is not Extended JSON: ${error instanceof Error ? error.message : "?"}`);
  }
}

function compileQuery(query: Record<string, unknown>, depth: number): Predicate {
  if (depth > DEPTH_MAX) throw mistake(`is nested deeper than ${DEPTH_MAX} levels`);
  const predicates = Object.entries(query).map(([name, condition]) => {
    const combine = Object.hasOwn(LOGICAL, name) ? LOGICAL[name] : undefined;
    if (combine !== undefined) return combine(clausesOf(name, condition).map((part) => compileQuery(part, depth + 1)));
    if (!name.startsWith("$")) return compileField(name, condition, depth + 1);
    throw mistake(`has ${shown(name)}, which is not simple; use paths, ${Object.keys(LOGICAL).join(", ")}`);
  });
  return (document) => predicates.every((test) => test(document));
}

function clausesOf(name: string, condition: unknown): Record<string, unknown>[] {
  if (Array.isArray(condition) && condition.length > 0 && condition.every(isPlainObject)) return condition;
  throw mistake(`has ${shown(name)} without an array of at least one query`);
}

function compileField(path: string, condition: unknown, depth: number): Predicate {
  if (path === "" || path.includes("\0")) throw mistake(`names the path ${shown(path)}, which no field has`);
  if (!isPlainObject(condition) || !Object.keys(condition).some((name) => name.startsWith("$"))) {
    return BSON_QUERY_OPERATORS.$eq(path, simpleValue(path, condition));
  }
  if (depth > DEPTH_MAX) throw mistake(`is nested deeper than ${DEPTH_MAX} levels`);
  const predicates = Object.entries(condition).map(([name, operand]) => compileOperator(path, name, operand, depth));
  return (document) => predicates.every((test) => test(document));
}

function compileOperator(path: string, name: string, operand: unknown, depth: number): Predicate {
  if (name === "$not") {
    if (!isPlainObject(operand) || !Object.keys(operand).every((inner) => inner.startsWith("$"))) {
      throw mistake(`has $not at ${shown(path)} without operators: write {"$not": {"$gt": 1}}`);
    }
    const test = compileField(path, operand, depth + 1);
    return (document) => !test(document);
  }
  const known = FIELD_OPERATORS.find((operator) => operator === name);
  if (known === undefined) {
    throw mistake(`has ${shown(name)} at ${shown(path)}, which is not simple; use ${FIELD_OPERATORS.join(", ")}, $not`);
  }
  if (known === "$in" || known === "$nin") {
    if (!Array.isArray(operand)) throw mistake(`has ${name} at ${shown(path)} without an array`);
    return BSON_QUERY_OPERATORS[known](
      path,
      operand.map((value: unknown) => simpleValue(path, value)),
    );
  }
  if (known === "$exists" && typeof operand !== "boolean") {
    throw mistake(`has $exists at ${shown(path)} with something other than true and false`);
  }
  const build: (selector: string, operand: never) => Predicate = BSON_QUERY_OPERATORS[known];
  return build(path, simpleValue(path, operand) as never);
}

/** A value to compare with: no regular expression, and nothing that MongoDB would take for an operator. */
function simpleValue(path: string, value: unknown): unknown {
  if (value instanceof RegExp || value instanceof BSONRegExp) {
    throw mistake(`has a regular expression at ${shown(path)}, which is not simple; compare with values`);
  }
  if (Array.isArray(value)) for (const element of value) simpleValue(path, element);
  if (!isPlainObject(value)) return value;
  for (const [name, inner] of Object.entries(value)) {
    if (name.startsWith("$")) throw mistake(`has ${shown(name)} inside a value at ${shown(path)}`);
    simpleValue(path, inner);
  }
  return value;
}

/** A document, and not one of BSON's scalar classes. */
function isPlainObject(value: unknown): value is Record<string, unknown> {
  if (typeof value !== "object" || value === null) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}

function mistake(what: string): EmcacheError {
  return new EmcacheError("entity_invalid", what);
}
