import { EmcacheError } from "@emcache/protocol";
import { messageOf } from "../runtime/error-message.ts";
import { redactUri } from "../runtime/redact-uri.ts";

/**
 * An error as the terminal shows it. One of the catalogue is explained: message, each mistake on a line, and what to
 * do; a stack would only hide that. Any other is ours to fix, so it comes with its stack.
 */
export function describeError(error: unknown): string {
  if (error instanceof EmcacheError) {
    const mistakes = error.errors.map((mistake) => `  ${mistake}`);
    return redactUri([`emcache: ${error.message} (${error.code})`, ...mistakes, `Hint: ${error.hint}`].join("\n"));
  }
  return `emcache: ${error instanceof Error && error.stack !== undefined ? redactUri(error.stack) : messageOf(error)}`;
}
