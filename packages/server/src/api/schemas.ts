import { COLUMN_TYPES, ID_COLUMN_TYPES, ON_DROP, ON_REJECT } from "@emcache/protocol";
import { type TLiteral, Type } from "typebox";

/** Largest number of entries in one answer. */
export const LIMIT_MAX = 10_000;
/** A request waits for this long at most; proxies that end it earlier do no harm. */
export const WAIT_MS_MAX = 60_000;
/** Number of entries where the request doesn't say. */
export const LIMIT_DEFAULT = 100;
/** Skipping costs reading: whoever has read this far goes on with `after`. */
export const OFFSET_MAX = 1_000_000;

/** The path parameter of everything that belongs to one entity. */
export const EntityNameParams = Type.Object({
  name: Type.String({ description: "Name of an entity", examples: ["users"] }),
});

const position = { minimum: 0, maximum: Number.MAX_SAFE_INTEGER };

/** Which part of the log to read; the same by query string and by body. */
export const OplogRange = {
  limit: Type.Optional(
    Type.Integer({ minimum: 1, maximum: LIMIT_MAX, default: LIMIT_DEFAULT, description: "Entries at most" }),
  ),
  offset: Type.Optional(
    Type.Integer({
      minimum: 0,
      maximum: OFFSET_MAX,
      default: 0,
      description:
        "Entries of these entities to skip, counted from `after` (without it, from the floor of the log). Retention moves the floor: a reader that goes on for long uses `after`.",
    }),
  ),
  after: Type.Optional(
    Type.Integer({ ...position, description: "Only entries after this position: the `position` of the last answer" }),
  ),
  log_id: Type.Optional(
    Type.String({ description: "The `log_id` of the last answer; 409 if the server's log is another one by now" }),
  ),
  tag: Type.Optional(
    Type.String({
      description: "The `tag` of the last answer; 409 if the log's history at `after` is another one by now",
    }),
  ),
};

/** An entity as it is registered; `pending` and the figures come with the status. */
export const EntityDefinitionSchema = Type.Object(
  {
    name: Type.String({ description: "ASCII letters, digits, _" }),
    client: Type.String({ description: "Name of a configured source" }),
    source: Type.String({ description: "Collection in that source's database" }),
    shape: Type.Object({
      id_column: Type.Object({
        path: Type.String({ description: "$._id, or a JSONPath inside it" }),
        type: Type.Union(literals(ID_COLUMN_TYPES)),
      }),
      columns: Type.Array(
        Type.Object({ name: Type.String(), type: Type.Union(literals(COLUMN_TYPES)), path: Type.String() }),
      ),
      indexes: Type.Optional(
        Type.Union([Type.Null(), Type.Array(Type.Object({ name: Type.String(), columns: Type.Array(Type.String()) }))]),
      ),
    }),
    filter: Type.Optional(
      Type.Union([Type.Null(), Type.Object({}, { additionalProperties: true })], {
        description: "A simple MongoDB query as Extended JSON: only documents that match have a row",
      }),
    ),
    on_reject: Type.Optional(
      Type.Union([Type.Null(), ...literals(ON_REJECT)], {
        description: "What happens with a value or document that can't be mapped. Default: null",
      }),
    ),
    on_drop: Type.Optional(
      Type.Union([Type.Null(), ...literals(ON_DROP)], {
        description: "What happens when the collection is dropped or renamed away. Default: empty",
      }),
    ),
  },
  { description: "A mapping of one MongoDB collection to one SQLite table" },
);

/** RFC 9457, as every error answer has it. */
export const ProblemSchema = Type.Object({
  type: Type.String(),
  title: Type.String(),
  status: Type.Integer(),
  detail: Type.String(),
  code: Type.String({ description: "Stable; see docs/errors.md" }),
  hint: Type.String(),
  retryable: Type.Boolean(),
  error: Type.String({ description: "The same as `detail`" }),
  errors: Type.Optional(Type.Array(Type.String(), { description: "Each mistake, as `place: what was wrong`" })),
});

function literals<const T extends readonly string[]>(values: T): TLiteral<T[number]>[] {
  return values.map((value) => Type.Literal(value) as TLiteral<T[number]>);
}
