import { EmcacheError } from "@emcache/protocol";
import type { TLocalizedValidationError } from "typebox/error";
import { Compile } from "typebox/compile";
import type { TSchema } from "typebox";

/** Mistakes shown at most; a body of a million wrong items must not make an answer of a million lines. */
const MISTAKES_MAX = 100;

/** What Fastify hands to a validator compiler. */
interface RouteSchema {
  readonly schema: unknown;
  readonly httpPart?: string | undefined;
}

/** What a compiled validator answers: the value to use, or the error to send. */
type Verdict = { value: unknown } | { error: EmcacheError };

/**
 * Checks a part of a request against its TypeBox schema and reports all mistakes at once, each as
 * `limit: must be integer; got "abc"`. Query strings and path parameters arrive as text: where the schema wants an
 * integer, decimal digits become one, and anything else stays text and is reported.
 */
export function compileRequestValidator({ schema, httpPart }: RouteSchema): (value: unknown) => Verdict {
  const validator = Compile(schema as TSchema);
  const textual = httpPart !== "body";
  return (value) => {
    const input = textual ? withIntegers(value, schema as TSchema) : value;
    if (validator.Check(input)) return { value: input };
    const mistakes = describeMistakes(validator.Errors(input), input);
    return { error: new EmcacheError("bad_request", mistakes.join("\n"), { errors: mistakes }) };
  };
}

/** TypeBox's errors as lines, one a mistake; what a union's alternatives say is left to the union's own line. */
export function describeMistakes(errors: readonly TLocalizedValidationError[], value: unknown): string[] {
  const lines = new Set<string>();
  for (const error of errors) {
    if (error.schemaPath.includes("/anyOf/")) continue;
    if (error.keyword === "required") {
      for (const name of error.params.requiredProperties) lines.add(`${placeOf(error.instancePath, name)}: is missing`);
    } else {
      lines.add(`${placeOf(error.instancePath)}: ${error.message}; got ${shown(valueAt(value, error.instancePath))}`);
    }
    if (lines.size >= MISTAKES_MAX) break;
  }
  return [...lines];
}

/** `/entities/0` becomes `entities[0]`. */
function placeOf(instancePath: string, property?: string): string {
  const steps = pointerSteps(instancePath);
  if (property !== undefined) steps.push(property);
  const place = steps
    .map((step, index) => (/^\d+$/.test(step) ? `[${step}]` : index === 0 ? step : `.${step}`))
    .join("");
  return place === "" ? "the request" : place;
}

function pointerSteps(pointer: string): string[] {
  return pointer
    .split("/")
    .slice(1)
    .map((step) => step.replaceAll("~1", "/").replaceAll("~0", "~"));
}

function valueAt(value: unknown, pointer: string): unknown {
  let current = value;
  for (const step of pointerSteps(pointer)) {
    if (typeof current !== "object" || current === null) return undefined;
    current = (current as Record<string, unknown>)[step];
  }
  return current;
}

/** The value as JSON, cut to 60 characters. */
function shown(value: unknown): string {
  const text = JSON.stringify(value) ?? "nothing";
  return text.length > 60 ? `${text.slice(0, 60)}…` : text;
}

function withIntegers(value: unknown, schema: TSchema): unknown {
  const properties = (schema as { properties?: Record<string, { type?: string }> }).properties ?? {};
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([name, text]) => {
      const isInteger = Object.hasOwn(properties, name) && properties[name]?.type === "integer";
      return [name, isInteger && typeof text === "string" && /^-?\d{1,16}$/.test(text) ? Number(text) : text];
    }),
  );
}
