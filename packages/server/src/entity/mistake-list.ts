import { EmcacheError, type ErrorCode } from "@emcache/protocol";
import { nearestName } from "../config/nearest-name.ts";

/** A hostile body can hold any number of mistakes; nobody reads more. */
const MISTAKES_MAX = 100;
const SHOWN_CHARS_MAX = 60;
/** Comparing spellings takes time: only for names that could be a slip of the pen, and only for the first mistakes. */
const SUGGESTED_CHARS_MAX = 100;
const SUGGESTIONS_MAX = 10;

/** A JSON object of which nothing is known yet. Only its own fields count, `__proto__` is a name like any other. */
export type UnknownObject = Readonly<Record<string, unknown>>;

/**
 * Collects all mistakes of a JSON value, each as `place: what was wrong; what would be right`, and reads values of it:
 * a reader that finds another kind of value notes that and gives null.
 */
export class MistakeList {
  readonly #mistakes: string[] = [];
  #count = 0;

  add(place: string, message: string): void {
    this.#count++;
    if (this.#mistakes.length < MISTAKES_MAX) this.#mistakes.push(`${place}: ${message}`);
  }

  /** The one of `names` that the writer of `name` may have meant; null where there is none or too much was wrong. */
  nearest(name: string, names: Iterable<string>): string | null {
    if (name === "" || name.length > SUGGESTED_CHARS_MAX || this.#count >= SUGGESTIONS_MAX) return null;
    return nearestName(name, names);
  }

  object(value: unknown, place: string): UnknownObject | null {
    if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as UnknownObject;
    this.#wrongKind(value, place, "an object");
    return null;
  }

  array(value: unknown, place: string, countMax: number): readonly unknown[] | null {
    if (!Array.isArray(value)) {
      this.#wrongKind(value, place, "an array");
      return null;
    }
    if (value.length <= countMax) return value;
    this.add(place, `has ${value.length} elements; at most ${countMax} are allowed`);
    return value.slice(0, countMax);
  }

  string(value: unknown, place: string): string | null {
    if (typeof value === "string") return value;
    this.#wrongKind(value, place, "a string");
    return null;
  }

  /** Throws all of them as one error of `code`, where there are any. */
  throwIfAny(code: ErrorCode): void {
    const [first] = this.#mistakes;
    if (first === undefined) return;
    const more = this.#count - this.#mistakes.length;
    const errors = more === 0 ? this.#mistakes : [...this.#mistakes, `… and ${more} more`];
    const message = this.#count === 1 ? first : `${first} (and ${this.#count - 1} more)`;
    throw new EmcacheError(code, message, { errors });
  }

  #wrongKind(value: unknown, place: string, wanted: string): void {
    if (value === undefined) this.add(place, `is missing; it must be ${wanted}`);
    else this.add(place, `is ${kindOf(value)}; it must be ${wanted}`);
  }
}

/** An object's own field, `undefined` where it has none. */
export function fieldOf(object: UnknownObject, name: string): unknown {
  return Object.hasOwn(object, name) ? object[name] : undefined;
}

/** A text as messages show it: quoted, escaped and cut. */
export function shown(text: string): string {
  return JSON.stringify(text.length > SHOWN_CHARS_MAX ? `${text.slice(0, SHOWN_CHARS_MAX)}…` : text);
}

function kindOf(value: unknown): string {
  if (value === null) return "null";
  if (Array.isArray(value)) return "an array";
  if (typeof value === "string") return `the string ${shown(value)}`;
  if (typeof value === "object") return "an object";
  if (typeof value === "number" || typeof value === "boolean") return `the ${typeof value} ${value}`;
  return `a ${typeof value}`;
}
