import { jsonArraySlices } from "./json-array-slices.ts";

/**
 * The members of a JSON object, each value as exactly the text that stands there: every digit of a number stays.
 * A repeated key keeps its last value, as with JSON.parse.
 *
 * The text must be JSON; of what is not, only what breaks the outer object is noticed. Throws SyntaxError then.
 */
export function jsonObjectSlices(text: string): Map<string, string> {
  const trimmed = text.trim();
  if (!trimmed.startsWith("{") || !trimmed.endsWith("}")) throw new SyntaxError("not a JSON object");
  const members = new Map<string, string>();
  // Keys and values alternate, as elements do once the colons between them count as commas.
  for (const [key, value] of pairs(jsonArraySlices(`[${trimmed.slice(1, -1)}]`, "members"))) {
    members.set(key.includes("\\") ? (JSON.parse(key) as string) : key.slice(1, -1), value);
  }
  return members;
}

function* pairs(slices: readonly string[]): Generator<[string, string]> {
  if (slices.length % 2 !== 0) throw new SyntaxError("a JSON object's key has no value");
  for (let index = 0; index < slices.length; index += 2) {
    const key = slices[index] as string;
    if (!key.startsWith('"')) throw new SyntaxError("a JSON object's key is not a string");
    yield [key, slices[index + 1] as string];
  }
}
