import type { BsonDocument } from "../bson/codec.ts";
import { isDocument } from "../bson/codec.ts";
import { CommandError } from "../command-error.ts";
import { compileTyped } from "../query/compile-filter.ts";

/** Where a value is: in a document by name, in an array by index. */
export type Place =
  | { readonly in: BsonDocument; readonly at: string }
  | { readonly in: unknown[]; readonly at: number };

/** What the steps `$` and `$[name]` of a path mean. */
export interface PositionalContext {
  /** The update's filter, which `$` refers to. */
  readonly filter: BsonDocument;
  /** `arrayFilters`, by the name that they begin with. */
  readonly arrayFilters: ReadonlyMap<string, (element: unknown) => boolean>;
}

export function readPlace(place: Place): unknown {
  return Array.isArray(place.in) ? place.in[place.at as number] : place.in[place.at as string];
}

export function writePlace(place: Place, value: unknown): void {
  if (Array.isArray(place.in)) place.in[place.at as number] = value;
  else place.in[place.at as string] = value;
}

/** Compiles `arrayFilters`: each names one element by its first step. */
export function compileArrayFilters(filters: unknown): Map<string, (element: unknown) => boolean> {
  const merged = new Map<string, BsonDocument>();
  for (const filter of Array.isArray(filters) ? filters : []) {
    if (!isDocument(filter)) throw new CommandError(14, "arrayFilters must be documents");
    const [path = ""] = Object.keys(filter);
    const name = path.startsWith("$") ? nameInside(filter[path]) : (path.split(".")[0] ?? "");
    if (merged.has(name))
      throw new CommandError(9, `Found multiple array filters with the same top-level field name ${name}`);
    merged.set(name, filter);
  }
  return new Map(
    [...merged].map(([name, filter]) => {
      const predicate = compileTyped(filter);
      return [name, (element: unknown) => predicate === null || predicate({ [name]: element })] as const;
    }),
  );
}

/** The name that the conditions of a `$and` or `$or` begin with. */
function nameInside(conditions: unknown): string {
  const [first]: unknown[] = Array.isArray(conditions) ? conditions : [];
  const [path = ""] = isDocument(first) ? Object.keys(first) : [];
  return path.split(".")[0] ?? "";
}

/**
 * The places that a path of an update names. With `create`, missing documents on the way are made; without, a path
 * that leads nowhere names no place.
 *
 * @throws CommandError 28 (PathNotViable) where something other than a document is in the way of creating
 */
export function placesAt(root: BsonDocument, path: string, context: PositionalContext, create: boolean): Place[] {
  const places: Place[] = [];
  walk(root, root, path.split("."), 0, context, create, places);
  return places;
}

function walk(
  root: BsonDocument,
  value: unknown,
  steps: readonly string[],
  depth: number,
  context: PositionalContext,
  create: boolean,
  places: Place[],
): void {
  const step = steps[depth] ?? "";
  const isLast = depth === steps.length - 1;
  if (Array.isArray(value)) {
    for (const index of indexesOf(root, value, steps, depth, context, create)) {
      if (isLast) places.push({ in: value, at: index });
      else {
        if (create && value[index] === undefined) value[index] = {};
        walk(root, value[index], steps, depth + 1, context, create, places);
      }
    }
    return;
  }
  if (!isDocument(value)) {
    if (!create) return;
    throw new CommandError(28, `Cannot create field '${step}' in element {${steps[depth - 1] ?? ""}}`);
  }
  if (isPositional(step)) {
    if (!create) return;
    throw new CommandError(
      2,
      `The path '${steps.slice(0, depth).join(".")}' must exist in the document in order to apply array updates.`,
    );
  }
  if (isLast) {
    places.push({ in: value, at: step });
    return;
  }
  if (value[step] === undefined) {
    if (!create) return;
    value[step] = {};
  }
  walk(root, value[step], steps, depth + 1, context, create, places);
}

function isPositional(step: string): boolean {
  return step === "$" || /^\$\[.*\]$/.test(step);
}

function indexesOf(
  root: BsonDocument,
  array: unknown[],
  steps: readonly string[],
  depth: number,
  context: PositionalContext,
  create: boolean,
): number[] {
  const step = steps[depth] ?? "";
  if (step === "$[]") return [...array.keys()];
  if (step === "$") return [matchedIndex(root, array, steps.slice(0, depth), context.filter)];
  const name = /^\$\[(.+)\]$/.exec(step)?.[1];
  if (name !== undefined) {
    const test = context.arrayFilters.get(name);
    if (test === undefined) throw new CommandError(2, `No array filter found for identifier '${name}'`);
    return [...array.keys()].filter((index) => test(array[index]));
  }
  if (!/^\d+$/.test(step)) {
    if (!create) return [];
    throw new CommandError(28, `Cannot create field '${step}' in element {${steps[depth - 1] ?? ""}: [...]}`);
  }
  const index = Number(step);
  if (index >= array.length && !create) return [];
  while (array.length < index) array.push(null);
  return [index];
}

/** The first element for which the filter's condition on the array holds. */
function matchedIndex(root: BsonDocument, array: unknown[], steps: readonly string[], filter: BsonDocument): number {
  const path = steps.join(".");
  const conditions = conditionsOn(filter, path);
  const predicate = compileTyped(Object.assign({}, ...conditions) as BsonDocument);
  const index = array.findIndex((element) => predicate?.(withArray(root, steps, [element])) ?? false);
  if (conditions.length === 0 || index < 0) {
    throw new CommandError(2, "The positional operator did not find the match needed from the query.");
  }
  return index;
}

function conditionsOn(filter: BsonDocument, path: string): BsonDocument[] {
  return Object.entries(filter).flatMap(([name, condition]) => {
    if (name === "$and" && Array.isArray(condition)) {
      return condition.flatMap((part: unknown) => (isDocument(part) ? conditionsOn(part, path) : []));
    }
    return name === path || name.startsWith(`${path}.`) ? [{ [name]: condition }] : [];
  });
}

/** The document with another array at the path. */
function withArray(document: BsonDocument, steps: readonly string[], array: unknown[]): BsonDocument {
  const [step = "", ...rest] = steps;
  const inner = document[step];
  return { ...document, [step]: rest.length === 0 || !isDocument(inner) ? array : withArray(inner, rest, array) };
}
