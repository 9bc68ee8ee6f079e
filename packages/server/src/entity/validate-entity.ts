import { type EntityDefinition, isReservedEntityName, ON_DROP, ON_REJECT } from "@emcache/protocol";
import { fieldOf, MistakeList, shown, type UnknownObject } from "./mistake-list.ts";
import { oneOf } from "./one-of.ts";
import { validateFilter } from "./validate-filter.ts";
import { validateName } from "./validate-name.ts";
import { validateShape } from "./validate-shape.ts";

/** MongoDB's own limit is 255 bytes for database and collection together. */
const COLLECTION_BYTES_MAX = 254;

/**
 * Checks what an operator wrote as an entity and returns it with its known fields only; unknown ones are ignored,
 * `indexes`, `filter`, `on_reject` and `on_drop` may be null or absent.
 *
 * Throws `entity_invalid` with every mistake at once in `errors`, each as `shape.columns[1].path: what was wrong;
 * what would be right`. Takes any value: bodies are hostile.
 */
export function validateEntity(
  body: unknown,
  { sourceNames }: { readonly sourceNames: readonly string[] },
): EntityDefinition {
  const mistakes = new MistakeList();
  const entity = mistakes.object(body, "the request");
  const definition = entity === null ? null : definitionOf(entity, sourceNames, mistakes);
  mistakes.throwIfAny("entity_invalid");
  // Without mistakes there is a definition; the types can't know that.
  return definition!;
}

function definitionOf(entity: UnknownObject, sourceNames: readonly string[], mistakes: MistakeList): EntityDefinition {
  const name = entityName(fieldOf(entity, "name"), mistakes);
  const client = sourceName(fieldOf(entity, "client"), sourceNames, mistakes);
  const source = collectionName(fieldOf(entity, "source"), mistakes);
  const shape = validateShape(fieldOf(entity, "shape"), name, mistakes);
  return { name, client, source, shape, ...policiesOf(entity, mistakes) };
}

/** The fields that an entity may do without; what was not written is not made up. */
function policiesOf(
  entity: UnknownObject,
  mistakes: MistakeList,
): Pick<EntityDefinition, "filter" | "on_reject" | "on_drop"> {
  const [filter, onReject, onDrop] = ["filter", "on_reject", "on_drop"].map((name) => fieldOf(entity, name) ?? null);
  return {
    ...(filter === null ? {} : { filter: validateFilter(filter, mistakes) }),
    ...(onReject === null ? {} : { on_reject: oneOf(onReject, ON_REJECT, "way to reject", "on_reject", mistakes) }),
    ...(onDrop === null
      ? {}
      : { on_drop: oneOf(onDrop, ON_DROP, "answer to a dropped collection", "on_drop", mistakes) }),
  };
}

function entityName(value: unknown, mistakes: MistakeList): string {
  const name = validateName(value, "name", mistakes);
  if (isReservedEntityName(name)) {
    mistakes.add("name", `${shown(name)} is reserved for a table of the cache file or a route; choose another name`);
  }
  return name;
}

function sourceName(value: unknown, sourceNames: readonly string[], mistakes: MistakeList): string {
  const name = mistakes.string(value, "client");
  if (name === null || sourceNames.includes(name)) return name ?? "";
  const nearest = mistakes.nearest(name, sourceNames);
  const names = sourceNames.slice(0, 20).join(", ");
  const known = names === "" ? "the configuration has no [sources.NAME]" : `the sources are ${names}`;
  const right = nearest === null ? known : `did you mean ${shown(nearest)}?`;
  mistakes.add("client", `${shown(name)} is not a configured source; ${right}`);
  return name;
}

function collectionName(value: unknown, mistakes: MistakeList): string {
  const name = mistakes.string(value, "source");
  if (name === null) return "";
  const wrong = collectionMistake(name);
  if (wrong !== null) mistakes.add("source", `${shown(name)} ${wrong}; it must be the name of a collection`);
  return name;
}

/** MongoDB's rules for a collection's name. */
function collectionMistake(name: string): string | null {
  if (name === "") return "is empty";
  if (name.includes("\0") || !name.isWellFormed()) return "holds characters that no collection's name can";
  if (name.includes("$")) return "holds a $";
  if (name.startsWith("system.")) return "is one of MongoDB's own collections, which have no change stream";
  if (Buffer.byteLength(name) > COLLECTION_BYTES_MAX) return `is longer than ${COLLECTION_BYTES_MAX} bytes`;
  return null;
}
