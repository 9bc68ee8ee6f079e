import { ERROR_CATALOGUE, type ErrorCode } from "./error-code.ts";
import type { EmcacheError } from "./emcache-error.ts";

/** Body of every error answer: RFC 9457 `application/problem+json`, plus the field `error` that older clients read. */
export interface Problem {
  /** URN of the code; the page docs/errors.md has one section a code. */
  readonly type: string;
  readonly title: string;
  readonly status: number;
  readonly detail: string;
  readonly code: ErrorCode;
  readonly hint: string;
  readonly retryable: boolean;
  /** The same as `detail`: what EMCache's earlier clients show. */
  readonly error: string;
  readonly errors?: readonly string[];
  readonly [detail: string]: unknown;
}

/** The problem document of an error, as the API sends it. */
export function toProblem(error: EmcacheError): Problem {
  const { status, title } = ERROR_CATALOGUE[error.code];
  return {
    ...error.details,
    type: `urn:emcache:error:${error.code}`,
    title,
    status,
    detail: error.message,
    code: error.code,
    hint: error.hint,
    retryable: error.retryable,
    error: error.message,
    ...(error.errors.length > 0 ? { errors: error.errors } : {}),
  };
}
