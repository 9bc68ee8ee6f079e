import { isDocument } from "../bson/codec.ts";

/**
 * The values that a dotted path names in a decoded document, in MongoDB's way: a number is an index into an array
 * (or a field's name), and a name goes into each document of an array. Missing fields yield nothing.
 */
export function valuesAt(document: unknown, path: string): unknown[] {
  const values: unknown[] = [];
  collect(document, path.split("."), 0, values);
  return values;
}

function collect(value: unknown, steps: readonly string[], depth: number, values: unknown[]): void {
  const step = steps[depth];
  if (step === undefined) {
    values.push(value);
    return;
  }
  if (Array.isArray(value)) {
    if (/^\d+$/.test(step) && Number(step) < value.length) collect(value[Number(step)], steps, depth + 1, values);
    for (const element of value) if (isDocument(element)) collect(element, steps, depth, values);
    return;
  }
  if (isDocument(value) && Object.hasOwn(value, step)) collect(value[step], steps, depth + 1, values);
}
