import type { ErrorCode } from "@emcache/protocol";

/** A value that is bound to a placeholder. */
export type QueryParameter = string | number | boolean | null;

/** One SELECT over one cache file, and how much of its answer is wanted. */
export interface Query {
  /** Of the file. */
  readonly path: string;
  readonly sql: string;
  /** By position, or by name. */
  readonly params: readonly QueryParameter[] | Readonly<Record<string, QueryParameter>>;
  readonly rowsMax: number;
  /** Of the rows' JSON. */
  readonly bytesMax: number;
}

/** What the process that runs queries says to one. */
export type QueryReply =
  /** JSON of `{columns, rows, truncated}`, made where the rows were read. */
  | { readonly json: string; readonly cpuS: number }
  | { readonly error: { readonly code: ErrorCode; readonly message: string }; readonly cpuS: number };
