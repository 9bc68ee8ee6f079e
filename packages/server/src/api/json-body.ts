import { EmcacheError } from "@emcache/protocol";
import type { ApiInstance } from "./api-instance.ts";

/**
 * Reads JSON bodies. An empty body is no body (a POST without one often carries `content-type: application/json`
 * all the same); bytes that are not UTF-8 are refused instead of being replaced.
 */
export function acceptJsonBodies(app: ApiInstance): void {
  app.removeAllContentTypeParsers();
  const parser = async (_request: unknown, body: Buffer): Promise<unknown> => parseJsonBody(body);
  app.addContentTypeParser("application/json", { parseAs: "buffer" }, parser);
  app.addContentTypeParser(/^application\/(?:[\w.+-]+\+)?json(?:\s*;|$)/, { parseAs: "buffer" }, parser);
}

/** @throws EmcacheError `body_not_json` */
export function parseJsonBody(body: Uint8Array): unknown {
  if (body.length === 0) return undefined;
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(body));
  } catch (error) {
    throw new EmcacheError("body_not_json", error instanceof SyntaxError ? error.message : "The body is not UTF-8", {
      cause: error,
    });
  }
}
