import { type MistakeList, shown } from "./mistake-list.ts";

/** Reads a word of a fixed list; the first one stands where a mistake was noted. `what` names the list in messages. */
export function oneOf<T extends string>(
  value: unknown,
  allowed: readonly [T, ...T[]],
  what: string,
  place: string,
  mistakes: MistakeList,
): T {
  const text = mistakes.string(value, place);
  const found = allowed.find((candidate) => candidate === text);
  if (text === null || found !== undefined) return found ?? allowed[0];
  const nearest = mistakes.nearest(text, allowed);
  const hint = nearest === null ? "" : ` (did you mean ${nearest}?)`;
  mistakes.add(place, `${shown(text)} is not a ${what}; it must be one of ${allowed.join(", ")}${hint}`);
  return allowed[0];
}
