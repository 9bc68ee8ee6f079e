/** A value as it was written: from TOML with its type, from the environment or a flag always as text. */
export interface WrittenValue {
  readonly value: unknown;
  readonly isText: boolean;
}

/** What is said of an option, whatever its type. */
export interface OptionText<T> {
  /** What it sets, as a sentence without its subject. */
  readonly description: string;
  readonly default: T;
  /** Why this default. */
  readonly reason: string;
  /** A flag of `emcache serve` that is shorter than the key. */
  readonly shortFlag?: string;
  /** What config.toml.example shows instead of the default. */
  readonly example?: string;
  /** Holds a password: never shown, and readable from a file that `…_FILE` names. */
  readonly isSecret?: boolean;
  /** Taken over by a running process on SIGHUP; a change of any other takes effect at the next start. */
  readonly isReloadable?: boolean;
}

/** One setting: what it means and how what was written becomes a value. */
export interface Option<T> extends OptionText<T> {
  /** The type, range and unit, in words. */
  readonly type: string;
  /** What of that a JSON Schema can say, for editors. */
  readonly schema: Readonly<Record<string, unknown>>;
  /** @throws RangeError that says what was wrong and what would be right; never with the value of a secret. */
  parse(written: WrittenValue): T;
}

interface Range {
  readonly min: number;
  readonly max: number;
}

/** A whole number. */
export function integerOption(range: Range & OptionText<number> & { readonly unit: string }): Option<number> {
  const type = `integer from ${range.min} to ${range.max}${range.unit === "" ? "" : `, ${range.unit}`}`;
  return {
    ...range,
    type,
    schema: { type: "integer", minimum: range.min, maximum: range.max },
    parse(written) {
      const number = numberOf(written, type);
      if (Number.isSafeInteger(number) && number >= range.min && number <= range.max) return number;
      throw new RangeError(`${number} does not fit; expected ${type}`);
    },
  };
}

/** A duration in seconds; fractions are allowed. */
export function secondsOption(range: Range & OptionText<number>): Option<number> {
  const type = `seconds from ${range.min} to ${range.max}, may be a fraction`;
  return {
    ...range,
    type,
    schema: { type: "number", minimum: range.min, maximum: range.max },
    parse(written) {
      const number = numberOf(written, type);
      if (number >= range.min && number <= range.max) return number;
      throw new RangeError(`${number} does not fit; expected ${type}`);
    },
  };
}

/** A text; `check` throws a RangeError that says what would be right. */
export function textOption<T extends string | null>(
  text: OptionText<T> & { readonly type: string; readonly check: (value: string) => void },
): Option<string | T> {
  return {
    ...text,
    schema: { type: "string" },
    parse({ value }) {
      if (typeof value !== "string") throw new RangeError(`${kindOf(value)} does not fit; expected ${text.type}`);
      text.check(value);
      return value;
    },
  };
}

/** Yes or no. */
export function booleanOption(text: OptionText<boolean>): Option<boolean> {
  const type = "true or false";
  return {
    ...text,
    type,
    schema: { type: "boolean" },
    parse({ value, isText }) {
      const written = isText && typeof value === "string" ? value.trim().toLowerCase() : value;
      if (written === true || written === "true") return true;
      if (written === false || written === "false") return false;
      throw new RangeError(`${kindOf(value)} does not fit; expected ${type}`);
    },
  };
}

/** One or more of a set of words: a TOML array, or text with commas. */
export function wordsOption<W extends string>(
  text: OptionText<readonly W[]> & { readonly words: readonly W[] },
): Option<readonly W[]> {
  const type = `one or more of ${text.words.map((word) => `"${word}"`).join(", ")}`;
  return {
    ...text,
    type,
    schema: { type: "array", items: { enum: text.words }, minItems: 1, uniqueItems: true },
    parse({ value, isText }) {
      const items: unknown = isText
        ? String(value)
            .split(",")
            .map((word) => word.trim())
        : value;
      if (!Array.isArray(items) || items.length === 0) {
        throw new RangeError(`${kindOf(value)} does not fit; expected an array of ${type}`);
      }
      const chosen = items.map((item) => {
        const word = text.words.find((candidate) => candidate === item);
        if (word === undefined) throw new RangeError(`${JSON.stringify(item)} is unknown; expected ${type}`);
        return word;
      });
      return text.words.filter((word) => chosen.includes(word));
    },
  };
}

function numberOf({ value, isText }: WrittenValue, type: string): number {
  if (typeof value === "number") return value;
  // Number("") is 0 and Number("0x1f") is 31: neither is what somebody means here.
  if (isText && typeof value === "string" && /^[+-]?\d+(\.\d+)?$/.test(value.trim())) return Number(value);
  const hint = typeof value === "string" && !isText && value.trim() !== "" && Number.isFinite(Number(value));
  throw new RangeError(`${kindOf(value)} does not fit; expected ${type}${hint ? " (without quotes)" : ""}`);
}

/** What was written, short enough for a message. */
function kindOf(value: unknown): string {
  if (typeof value === "string" || typeof value === "number" || typeof value === "boolean") {
    return JSON.stringify(value);
  }
  if (Array.isArray(value)) return value.length === 0 ? "an empty array" : "an array";
  return value instanceof Date ? "a date" : "a table";
}
