import { ERROR_CATALOGUE, type ErrorCode } from "./error-code.ts";

/** What an `EmcacheError` can carry beside its code and message. */
export interface EmcacheErrorOptions extends ErrorOptions {
  /** Replaces the catalogue's hint where the place of the error knows better. */
  readonly hint?: string;
  /** Each mistake on its own, as `place: what was wrong; what would be right`. */
  readonly errors?: readonly string[];
  /** Further facts for programs (positions, names); copied into the problem document. */
  readonly details?: Readonly<Record<string, unknown>>;
}

/** An error of the documented catalogue, with a hint for the operator. */
export class EmcacheError extends Error {
  override readonly name = "EmcacheError";
  readonly code: ErrorCode;
  readonly hint: string;
  /** Whether the same attempt can succeed later without anyone changing anything. */
  readonly retryable: boolean;
  readonly errors: readonly string[];
  readonly details: Readonly<Record<string, unknown>>;

  constructor(code: ErrorCode, message: string, options: EmcacheErrorOptions = {}) {
    super(message, options);
    this.code = code;
    this.hint = options.hint ?? ERROR_CATALOGUE[code].hint;
    this.retryable = ERROR_CATALOGUE[code].retryable;
    this.errors = options.errors ?? [];
    this.details = options.details ?? {};
  }
}
