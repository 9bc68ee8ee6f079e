const QUOTE = 34;
const COMMA = 44;
const OPEN_BRACKET = 91;
const BACKSLASH = 92;
const CLOSE_BRACKET = 93;
const OPEN_BRACE = 123;
const CLOSE_BRACE = 125;
const COLON = 58;

/** Index just after the string that begins at `start`. */
function stringEnd(text: string, start: number): number {
  let end = start;
  for (;;) {
    end = text.indexOf('"', end + 1);
    if (end < 0) throw new SyntaxError(`a string that begins at ${start} has no end`);
    let backslashes = 0;
    while (text.charCodeAt(end - 1 - backslashes) === BACKSLASH) backslashes += 1;
    if (backslashes % 2 === 0) return end + 1;
  }
}

/** Index just after the object or array that begins at `start`. */
function nestedEnd(text: string, start: number): number {
  let depth = 0;
  for (let index = start; index < text.length; index += 1) {
    const code = text.charCodeAt(index);
    if (code === QUOTE) {
      index = stringEnd(text, index) - 1;
    } else if (code === OPEN_BRACE || code === OPEN_BRACKET) {
      depth += 1;
    } else if (code === CLOSE_BRACE || code === CLOSE_BRACKET) {
      depth -= 1;
      if (depth === 0) return index + 1;
    }
  }
  throw new SyntaxError(`a value that begins at ${start} has no end`);
}

function isSpace(code: number): boolean {
  return code === 32 || code === 9 || code === 10 || code === 13;
}

function afterSpace(text: string, start: number): number {
  let index = start;
  while (isSpace(text.charCodeAt(index))) index += 1;
  return index;
}

function scalarEnd(text: string, start: number): number {
  let index = start;
  for (; index < text.length; index += 1) {
    const code = text.charCodeAt(index);
    if (code === COMMA || code === CLOSE_BRACKET || isSpace(code)) return index;
  }
  return index;
}

/**
 * The elements of a JSON array, each as exactly the text that stands there, without the space around it.
 *
 * The text must be JSON (PostgreSQL's type `json` has checked it); of what is not, only what breaks the outer array is
 * noticed. Throws SyntaxError then.
 *
 * @param what `members`: keys and values of an object, with a colon after each key, between brackets
 */
export function jsonArraySlices(text: string, what: "elements" | "members" = "elements"): string[] {
  const slices: string[] = [];
  let index = afterSpace(text, 0);
  if (text.charCodeAt(index) !== OPEN_BRACKET) throw new SyntaxError("not a JSON array");
  index = afterSpace(text, index + 1);
  if (text.charCodeAt(index) === CLOSE_BRACKET) return slices;
  for (;;) {
    const code = text.charCodeAt(index);
    const end =
      code === QUOTE
        ? stringEnd(text, index)
        : code === OPEN_BRACE || code === OPEN_BRACKET
          ? nestedEnd(text, index)
          : scalarEnd(text, index);
    slices.push(text.slice(index, end));
    index = afterSpace(text, end);
    const separator = text.charCodeAt(index);
    if (separator === CLOSE_BRACKET) return slices;
    const expected = what === "members" && slices.length % 2 === 1 ? COLON : COMMA;
    if (separator !== expected) {
      throw new SyntaxError(`expected "${String.fromCharCode(expected)}" or "]" at ${index}`);
    }
    index = afterSpace(text, index + 1);
  }
}
