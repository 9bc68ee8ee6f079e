import { type OplogEntry, isDocumentEntry } from "../oplog/oplog-entry.ts";

/** What a stream watches. */
export type StreamScope =
  | { readonly kind: "collection"; readonly database: string; readonly collection: string }
  | { readonly kind: "database"; readonly database: string }
  | { readonly kind: "cluster" };

/** Databases whose changes no stream shows. */
const HIDDEN_DATABASES: ReadonlySet<string> = new Set(["admin", "config", "local"]);

/** Collection events that are shown without `showExpandedEvents`. */
const PLAIN_OPERATIONS: ReadonlySet<string> = new Set(["drop", "rename", "dropDatabase"]);

/** Whether the stream shows the entry, before its pipeline is asked. */
export function isInScope(entry: OplogEntry, scope: StreamScope, isExpanded: boolean): boolean {
  const { namespace } = entry;
  if (!isDocumentEntry(entry) && !isExpanded && !PLAIN_OPERATIONS.has(entry.operation)) return false;
  if (scope.kind === "cluster") return !HIDDEN_DATABASES.has(namespace.database);
  if (namespace.database !== scope.database) {
    return "to" in entry && entry.to?.database === scope.database && scope.kind === "database";
  }
  if (scope.kind === "database") return true;
  if (namespace.collection === scope.collection) return true;
  return "to" in entry && entry.to?.collection === scope.collection && entry.to.database === scope.database;
}

/**
 * Whether the stream ends after this entry: a drop or a rename of its collection, the drop of its database (MongoDB
 * manual, "invalidate Event").
 */
export function invalidates(entry: OplogEntry, scope: StreamScope): boolean {
  switch (entry.operation) {
    case "dropDatabase":
      return scope.kind !== "cluster" && entry.namespace.database === scope.database;
    case "drop":
    case "rename":
      return scope.kind === "collection";
    default:
      return false;
  }
}
