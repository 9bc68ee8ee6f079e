import { EmcacheError } from "@emcache/protocol";
import { LIMIT_MAX, WAIT_MS_MAX } from "./schemas.ts";

/** What `GET /api/oplogs` asks for. */
export interface LegacyOplogQuery {
  /** Entries after this position. */
  readonly from: number;
  readonly limit: number;
  readonly entities: readonly string[];
  /** How long to wait for a first entry; 0 where the request doesn't say: the Go client's doesn't. */
  readonly waitMs: number;
}

/** A query string that can't be read as the three parameters; the earlier server answered `{"reason"}`. */
export class LegacyQueryUnreadable extends Error {
  override readonly name = "LegacyQueryUnreadable";
}

/**
 * Reads the query string of `GET /api/oplogs`. `entities` is repeated, or written `entities[]=a`, or `entities[0]=a`,
 * as often as there are entities: no parser's limit on keys or indices applies.
 *
 * @throws LegacyQueryUnreadable where a parameter is missing or no number
 * @throws EmcacheError `bad_request` with every number that is out of bounds
 */
export function parseLegacyOplogQuery(url: string): LegacyOplogQuery {
  const start = url.indexOf("?");
  const parameters = new URLSearchParams(start < 0 ? "" : url.slice(start + 1));
  const entities: string[] = [];
  for (const [name, value] of parameters) {
    if (/^entities(?:\[\d*\])?$/.test(name)) entities.push(value);
  }
  const from = integerOf(parameters, "from");
  const limit = integerOf(parameters, "limit");
  const waitMs = parameters.has("wait_ms") ? integerOf(parameters, "wait_ms") : 0;
  if (entities.length === 0) throw new LegacyQueryUnreadable("missing field `entities`");
  const errors: string[] = [];
  if (from < 0 || from > Number.MAX_SAFE_INTEGER) errors.push(`from: must be between 0 and ${Number.MAX_SAFE_INTEGER}`);
  if (limit < 1 || limit > LIMIT_MAX) errors.push(`limit: must be between 1 and ${LIMIT_MAX}`);
  if (waitMs < 0 || waitMs > WAIT_MS_MAX) errors.push(`wait_ms: must be between 0 and ${WAIT_MS_MAX}`);
  if (errors.length > 0) throw new EmcacheError("bad_request", errors.join("\n"), { errors });
  return { from, limit, entities, waitMs };
}

function integerOf(parameters: URLSearchParams, name: string): number {
  const text = parameters.get(name);
  if (text === null) throw new LegacyQueryUnreadable(`missing field \`${name}\``);
  if (!/^[+-]?\d{1,19}$/.test(text))
    throw new LegacyQueryUnreadable(`invalid value for \`${name}\`: expected an integer`);
  return Number(text);
}
