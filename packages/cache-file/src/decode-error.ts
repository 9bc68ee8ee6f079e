/** Message of what a decoder threw; rethrows what is not about the text (a bug, an aborted process). */
export function messageOfDecodeError(error: unknown): string {
  if (error instanceof SyntaxError || error instanceof RangeError) return error.message;
  throw error;
}
