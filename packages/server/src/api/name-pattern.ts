/**
 * A pattern of entity names as a regular expression: `*` stands for any characters, `?` for one. Letters count as they
 * are, as they do in names. Repeated `*` are one, so that no pattern takes long to be compared.
 */
export function namePattern(pattern: string): RegExp {
  const source = pattern
    .replaceAll(/\*+/g, "*")
    .replaceAll(/[.+^${}()|[\]\\]/g, "\\$&")
    .replaceAll("*", ".*")
    .replaceAll("?", ".");
  return new RegExp(`^${source}$`, "s");
}

/** What a pattern may look like. */
export const NAME_PATTERN_FORM = "^[A-Za-z0-9_*?]{1,128}$";

/** Patterns with commas between. @throws RangeError that says what would be right */
export function namePatterns(text: string): string[] {
  const patterns = text.split(",").map((pattern) => pattern.trim());
  for (const pattern of patterns) {
    if (!new RegExp(NAME_PATTERN_FORM).test(pattern)) {
      throw new RangeError(`${JSON.stringify(pattern)} is no pattern; expected letters, digits, _, * and ?`);
    }
  }
  return patterns;
}
