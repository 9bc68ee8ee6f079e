import { redactUri } from "./redact-uri.ts";

/**
 * What to show of anything that was thrown: one text, never empty, without passwords. An error that only bundles
 * others (Node's refused connection to a name with several addresses has no message of its own) shows theirs.
 */
export function messageOf(error: unknown): string {
  return redactUri(rawMessageOf(error));
}

function rawMessageOf(error: unknown): string {
  if (!(error instanceof Error)) return typeof error === "string" && error !== "" ? error : `thrown: ${String(error)}`;
  if (error.message !== "") return error.message;
  if (error instanceof AggregateError && error.errors.length > 0) {
    return [...new Set(error.errors.map(rawMessageOf))].join("; ");
  }
  if (error.cause !== undefined) return rawMessageOf(error.cause);
  return "code" in error && typeof error.code === "string" ? error.code : error.name;
}

/** Whether this is the error of an aborted signal: the end that was asked for, nothing to report. */
export function isAbort(error: unknown): boolean {
  return error instanceof Error && error.name === "AbortError";
}
