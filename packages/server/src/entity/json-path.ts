import { JSONPathEnvironment, JSONPathError, jsonpath, type JSONPathQuery } from "json-p3";

/** Longer paths are refused: no shape needs them, and nested filters cost stack. */
const PATH_CHARS_MAX = 1000;
/** MongoDB nests 180 levels at most; `$..name` must reach all of them. */
const RECURSION_DEPTH_MAX = 300;

/** One step of a plain path: a field's name, or an element's index (negative ones count from the end). */
export type PathStep = string | number;

/** A compiled RFC 9535 JSONPath. */
export interface JsonPath {
  readonly text: string;
  /** The steps of a path that is only names and single indexes (`$.a['b'][-1]`); null for any other. */
  readonly steps: readonly PathStep[] | null;
  /** Runs any path over the JSON view of a document (`documentView`). */
  readonly query: JSONPathQuery;
}

/** A path that is not RFC 9535. The message says what is wrong and where, counted in characters from 1. */
export class JsonPathMistake extends Error {
  override readonly name = "JsonPathMistake";
}

/** Objects whose keys JavaScript would reorder, with their keys in the document's order. */
const orderedKeys = new WeakMap<object, readonly string[]>();

/** Notes the document's order of an object's keys, for wildcards and `..` to follow. */
export function rememberKeyOrder(object: object, keys: readonly string[]): void {
  orderedKeys.set(object, keys);
}

/** json-p3's environment, but objects with keys like `2` are walked in the document's order too. */
class DocumentOrderEnvironment extends JSONPathEnvironment {
  override entries(object: Parameters<JSONPathEnvironment["entries"]>[0]): ReturnType<JSONPathEnvironment["entries"]> {
    const keys = orderedKeys.get(object);
    return keys === undefined ? super.entries(object) : keys.map((key) => [key, object[key]]);
  }
}

const environment = new DocumentOrderEnvironment({ maxRecursionDepth: RECURSION_DEPTH_MAX });

/** Compiles an RFC 9535 JSONPath. Throws `JsonPathMistake`. */
export function compileJsonPath(text: string): JsonPath {
  if (text.length > PATH_CHARS_MAX) throw new JsonPathMistake(`longer than ${PATH_CHARS_MAX} characters`);
  if (!text.startsWith("$"))
    throw new JsonPathMistake(`not a JSONPath, which begins with $; for example ${exampleFor(text)}`);
  if (!text.isWellFormed())
    throw new JsonPathMistake("not text: it holds half of a surrogate pair, which no field's name can");
  const query = parse(text);
  return { text, steps: plainSteps(query), query };
}

/** What the writer of a bare field name may have meant. */
function exampleFor(text: string): string {
  return /^[A-Za-z_][A-Za-z0-9_.]{0,40}$/.test(text) ? `$.${text}` : "$.email";
}

function parse(text: string): JSONPathQuery {
  try {
    return environment.compile(text);
  } catch (error) {
    if (error instanceof RangeError) throw new JsonPathMistake("nested too deep", { cause: error });
    if (!(error instanceof JSONPathError)) {
      const detail = error instanceof Error ? error.message : String(error);
      throw new JsonPathMistake(`not an RFC 9535 JSONPath (${detail})`, { cause: error });
    }
    const position = Math.min(error.token.index, text.length) + 1;
    const where = position > text.length ? "at its end" : `at character ${position}`;
    throw new JsonPathMistake(`not an RFC 9535 JSONPath: ${readable(error.message)} ${where}`, { cause: error });
  }
}

/** The library's message without its own position and in words that name no token kinds. */
function readable(message: string): string {
  const words = message.replace(/ \('[^]*':\d+\)$/, "");
  if (words.includes("backup beyond start")) return "a name or selector is missing";
  return words.replace("unexpected token 'TOKEN_ERROR'", "unexpected character").replace(/TOKEN_/g, "");
}

function plainSteps(query: JSONPathQuery): PathStep[] | null {
  const steps: PathStep[] = [];
  for (const segment of query.segments) {
    const [selector] = segment.selectors;
    if (segment.selectors.length !== 1 || isDescendant(segment)) return null;
    if (selector instanceof jsonpath.selectors.NameSelector) steps.push(selector.name);
    else if (selector instanceof jsonpath.selectors.IndexSelector) steps.push(selector.index);
    else return null;
  }
  return steps;
}

/** The library doesn't export its segment classes; a descendant segment is the one that prints with two dots. */
function isDescendant(segment: jsonpath.JSONPathSegment): boolean {
  return segment.toString().startsWith("..");
}
