import { type BsonDocument, decodeTyped, encode, isDocument } from "../bson/codec.ts";
import { keyOfElement } from "../bson/key-string.ts";
import { bodyOf, documentOfElements, elementBytes, elementsOf, idElementOf, nameOf } from "../bson/raw-document.ts";
import { CommandError } from "../command-error.ts";
import { promotedDocument } from "../query/query-operators.ts";
import { retype, runPipeline } from "../query/run-pipeline.ts";
import { UPDATE_OPERATORS, type UpdateContext } from "./update-operators.ts";
import { compileArrayFilters } from "./update-path.ts";

/** An update or a replacement, ready to be applied to documents. */
export interface CompiledUpdate {
  /** Whether it replaces documents: their events say so. */
  readonly isReplacement: boolean;
  /** The new document. Fields that are not touched keep their bytes. The `_id` comes first and stays as it was. */
  apply(document: Buffer, isInsert: boolean): Buffer;
}

/** Documents may hold this many bytes (`hello.maxBsonObjectSize`). */
const DOCUMENT_BYTES_MAX = 16 * 1024 * 1024;

/**
 * Compiles the argument of an update: operators, a replacement, or a pipeline.
 *
 * @param update decoded with `decodeArgument`
 * @param filter the statement's filter, which `$` in paths refers to
 * @throws CommandError 9, 2, 40 (conflicting paths), 66 (a changed `_id`), …
 */
export function compileUpdate(update: unknown, filter: BsonDocument, arrayFilters: unknown): CompiledUpdate {
  if (Array.isArray(update)) return pipelineUpdate(update);
  if (!isDocument(update)) throw new CommandError(9, "Update argument must be either an object or an array");
  const names = Object.keys(update);
  if (!names.some((name) => name.startsWith("$"))) return replacement(update);
  return operatorUpdate(update, filter, arrayFilters);
}

function replacement(update: BsonDocument): CompiledUpdate {
  const bytes = encode(update);
  return {
    isReplacement: true,
    apply: (document) => {
      const id = idElementOf(document);
      const given = idElementOf(bytes);
      if (id === null) return given === null ? bytes : withIdFirst(bytes);
      if (given !== null && keyOfElement(bytes, given) !== keyOfElement(document, id)) throw immutableId();
      const parts = [elementBytes(document, id)];
      for (const element of elementsOf(bytes)) {
        if (nameOf(bytes, element) !== "_id") parts.push(elementBytes(bytes, element));
      }
      return checkedSize(documentOfElements(parts));
    },
  };
}

function operatorUpdate(update: BsonDocument, filter: BsonDocument, arrayFilters: unknown): CompiledUpdate {
  const steps: { operator: string; path: string; operand: unknown }[] = [];
  const touched = new Set<string>();
  const paths: string[] = [];
  for (const [operator, fields] of Object.entries(update)) {
    if (!UPDATE_OPERATORS.has(operator)) {
      throw new CommandError(
        9,
        `Unknown modifier: ${operator}. Expected a valid update modifier or pipeline-style update`,
      );
    }
    if (!isDocument(fields))
      throw new CommandError(9, `Modifiers operate on fields but we found another type for ${operator}`);
    for (const [path, operand] of Object.entries(fields)) {
      if (path === "" || path.split(".").includes(""))
        throw new CommandError(56, `The update path '${path}' contains an empty field name`);
      steps.push({ operator, path, operand });
      for (const name of operator === "$rename" ? [path, String(operand)] : [path]) {
        paths.push(name);
        touched.add(name.split(".")[0] ?? "");
      }
    }
  }
  assertNoConflict(paths);
  // New fields are added in the order of their names (MongoDB manual, "Update Operators Behavior").
  steps.sort((a, b) => (a.path < b.path ? -1 : 1));
  const filters = compileArrayFilters(arrayFilters);
  return {
    isReplacement: false,
    apply: (document, isInsert) => {
      const root = decodeTyped(document);
      const context: UpdateContext = { filter, arrayFilters: filters, isInsert, now: new Date() };
      for (const { operator, path, operand } of steps) UPDATE_OPERATORS.get(operator)?.(root, path, operand, context);
      return checkedSize(encodeTouched(document, root, touched));
    },
  };
}

/** Takes over the bytes of every top-level field that no operator named. */
function encodeTouched(original: Buffer, root: BsonDocument, touched: ReadonlySet<string>): Buffer {
  const parts: Buffer[] = [];
  const present = new Set<string>();
  for (const element of elementsOf(original)) {
    const name = nameOf(original, element);
    present.add(name);
    const isChanged = touched.has(name);
    const bytes = isChanged ? fieldBytes(root, name) : elementBytes(original, element);
    if (name === "_id" && isChanged && !sameId(original, bytes)) throw immutableId();
    parts.push(bytes);
  }
  for (const name of Object.keys(root)) if (!present.has(name)) parts.push(fieldBytes(root, name));
  const document = documentOfElements(parts);
  return present.has("_id") ? document : withIdFirst(document);
}

function fieldBytes(root: BsonDocument, name: string): Buffer {
  return bodyOf(encode({ [name]: root[name] }));
}

function sameId(original: Buffer, bytes: Buffer): boolean {
  const id = idElementOf(original);
  const document = documentOfElements([bytes]);
  const other = idElementOf(document);
  return id !== null && other !== null && keyOfElement(original, id) === keyOfElement(document, other);
}

/** Two paths conflict where one is the other or leads to it. */
function assertNoConflict(paths: readonly string[]): void {
  const sorted = [...paths].sort();
  for (const [index, path] of sorted.entries()) {
    const next = sorted[index + 1];
    if (next !== undefined && (next === path || next.startsWith(`${path}.`))) {
      throw new CommandError(40, `Updating the path '${next}' would create a conflict at '${path}'`);
    }
  }
}

const PIPELINE_STAGES: ReadonlySet<string> = new Set([
  "$addFields",
  "$set",
  "$project",
  "$unset",
  "$replaceRoot",
  "$replaceWith",
]);

function pipelineUpdate(stages: readonly unknown[]): CompiledUpdate {
  const pipeline = stages.map((stage) => {
    const [name = ""] = isDocument(stage) ? Object.keys(stage) : [];
    if (!isDocument(stage) || !PIPELINE_STAGES.has(name)) {
      throw new CommandError(72, `${name} is not allowed to be used within an update`);
    }
    return stage;
  });
  return {
    isReplacement: false,
    apply: (document) => {
      const typed = decodeTyped(document);
      const [computed = {}] = runPipeline([promotedDocument(typed)], pipeline);
      const result = retype(computed, typed) as BsonDocument;
      if ("_id" in typed && !("_id" in result)) result["_id"] = typed["_id"];
      const bytes = withIdFirst(encode(result));
      const id = idElementOf(document);
      const newId = idElementOf(bytes);
      if (id !== null && newId !== null && keyOfElement(bytes, newId) !== keyOfElement(document, id))
        throw immutableId();
      return checkedSize(bytes);
    },
  };
}

/** Stored documents begin with their `_id`. */
export function withIdFirst(document: Buffer): Buffer {
  const id = idElementOf(document);
  if (id === null || id.start === 4) return document;
  const parts = [elementBytes(document, id)];
  for (const element of elementsOf(document))
    if (element.start !== id.start) parts.push(elementBytes(document, element));
  return documentOfElements(parts);
}

function checkedSize(document: Buffer): Buffer {
  if (document.length <= DOCUMENT_BYTES_MAX) return document;
  throw new CommandError(
    10334,
    `BSONObj size: ${document.length} is invalid. Size must be between 0 and ${DOCUMENT_BYTES_MAX}`,
  );
}

function immutableId(): CommandError {
  return new CommandError(66, "Performing an update on the path '_id' would modify the immutable field '_id'");
}

/** The document that an upsert begins with: what the filter says by equality. */
export function upsertSeed(filter: BsonDocument): BsonDocument {
  const seed: BsonDocument = {};
  for (const [path, condition] of Object.entries(filter)) {
    if (path === "$and" && Array.isArray(condition)) {
      for (const part of condition) if (isDocument(part)) Object.assign(seed, upsertSeed(part));
    } else if (!path.startsWith("$")) addEquality(seed, path, condition);
  }
  return seed;
}

function addEquality(seed: BsonDocument, path: string, condition: unknown): void {
  const isOperators = isDocument(condition) && Object.keys(condition).some((name) => name.startsWith("$"));
  if (condition instanceof RegExp || (isOperators && !("$eq" in condition))) return;
  const value = isOperators ? condition["$eq"] : condition;
  const steps = path.split(".");
  const last = steps.pop() ?? "";
  let target = seed;
  for (const step of steps) {
    const inner = target[step];
    const next = isDocument(inner) ? inner : {};
    target[step] = next;
    target = next;
  }
  target[last] = value;
}
