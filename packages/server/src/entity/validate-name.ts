import { type MistakeList, shown } from "./mistake-list.ts";

/** Names become file names, and names in PostgreSQL and SQLite: the shortest of their limits is PostgreSQL's. */
const NAME_CHARS_MAX = 63;

/** Reads a name of an entity, column or index: ASCII letters, digits and `_`. "" where it isn't a string. */
export function validateName(value: unknown, place: string, mistakes: MistakeList): string {
  const name = mistakes.string(value, place);
  if (name === null) return "";
  if (name.length > NAME_CHARS_MAX) {
    mistakes.add(place, `${shown(name)} has ${name.length} characters; at most ${NAME_CHARS_MAX} are allowed`);
  } else if (!/^[A-Za-z0-9_]+$/.test(name)) {
    const wrong = name === "" ? "is empty" : `${shown(name)} is not a name`;
    mistakes.add(place, `${wrong}; a name is made of ASCII letters, digits and _`);
  }
  return name;
}
