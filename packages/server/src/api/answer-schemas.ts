import { type TSchema, Type } from "typebox";
import type { EntityStatus, VersionStatus } from "./entity-status.ts";
import { EntityDefinitionSchema } from "./schemas.ts";

/** A value that may be null. */
function orNull<T extends TSchema>(schema: T, description: string) {
  return Type.Union([schema, Type.Null()], { description });
}

const ShownErrorSchema = Type.Object({ code: Type.String(), detail: Type.String(), hint: Type.String() });

const statusFields = {
  ...EntityDefinitionSchema.properties,
  id: Type.Integer({ description: "Id of this version of the entity" }),
  created_at: Type.String({ description: "RFC 3339, UTC" }),
  state: Type.Union(
    [
      Type.Literal("copying"),
      Type.Literal("live"),
      Type.Literal("failed"),
      Type.Literal("stopped"),
      Type.Literal("stale"),
    ],
    { description: "copying: nothing is served yet. stopped, stale: what it had is served, it takes nothing more" },
  ),
  percent: orNull(Type.Number(), "How much of a running copy is done"),
  copy_paused: orNull(Type.Boolean(), "Whether its copies rest; null while PostgreSQL is away"),
  reason: orNull(Type.String(), "Why the state is failed, stopped or stale"),
  rows: orNull(Type.Integer(), "Rows in this process's cache"),
  position: orNull(Type.Integer(), "The cache holds everything up to this position of the log"),
  lag_ms: orNull(Type.Number(), "How far the cache may be behind the source"),
  lag_entries: orNull(Type.Integer(), "Entries of the log that the cache hasn't applied yet"),
  applied_entries: orNull(Type.Integer(), "Entries that this process has applied since it began"),
  size_bytes: orNull(Type.Integer(), "Size of the cache file"),
  last_error: orNull(ShownErrorSchema, "The last error that still holds"),
  rejects: orNull(Type.Integer(), "Values and documents that could not be mapped"),
};

const VersionStatusSchema = Type.Unsafe<VersionStatus>(Type.Object(statusFields));

/** An entity as it is shown: its served version, and the one that will replace it. */
export const EntityStatusSchema = Type.Unsafe<EntityStatus>(
  Type.Object(
    { ...statusFields, pending: orNull(VersionStatusSchema, "The changed version that is being copied beside it") },
    { description: "An entity with its state" },
  ),
);

/** What was done, in words, and to what. */
export const DoneSchema = Type.Object({ message: Type.String(), name: Type.String() });

/** One entry of the log. */
export const OplogEntrySchema = Type.Object({
  id: Type.Integer({ description: "Its position in the log" }),
  operation: Type.Union([
    Type.Literal("upsert"),
    Type.Literal("delete"),
    Type.Literal("sync_start"),
    Type.Literal("sync_end"),
  ]),
  doc_id: Type.String(),
  id_type: Type.Integer({ description: "BSON type of the document's _id" }),
  entity: Type.String(),
  version: Type.Integer(),
  origin: Type.Union([Type.Literal("copy"), Type.Literal("stream")]),
  transaction: orNull(Type.String(), "The source transaction that it belongs to"),
  transaction_end: Type.Boolean({ description: "Whether it is the entity's last entry of that transaction" }),
  data: orNull(Type.Array(Type.Unknown()), "One value a column of the shape; null for all but upsert"),
  created_at: Type.String({ description: "RFC 3339, UTC" }),
});

/** An answer that is no JSON, as OpenAPI describes it. */
export function bodyOf(
  type: string,
  description: string,
): { content: Record<string, { schema: TSchema }>; description: string } {
  return { description, content: { [type]: { schema: Type.Unsafe<unknown>(Type.String()) } } };
}
