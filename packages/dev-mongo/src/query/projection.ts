import { Context, Query } from "mingo";
import { type BsonDocument, decodeTyped, encode, isDocument, numberOf, promote } from "../bson/codec.ts";
import { documentOfElements, elementBytes, elementsOf, nameOf } from "../bson/raw-document.ts";

/** Turns a document into what a projection leaves of it. */
export type Projection = (document: Buffer) => Buffer;

/** Compiles a projection; null for none. Plain top-level fields are taken over as bytes, all else goes by mingo. */
export function compileProjection(projection: unknown): Projection | null {
  if (!isDocument(projection) || Object.keys(projection).length === 0) return null;
  return plainProjection(projection) ?? generalProjection(projection);
}

/** A projection that keeps or drops the named top-level fields. */
export function fieldSelection(names: ReadonlySet<string>, isInclusion: boolean): Projection {
  return (document) => {
    const parts: Buffer[] = [];
    let isWhole = true;
    for (const element of elementsOf(document)) {
      if (names.has(nameOf(document, element)) === isInclusion) parts.push(elementBytes(document, element));
      else isWhole = false;
    }
    return isWhole ? document : documentOfElements(parts);
  };
}

function plainProjection(projection: BsonDocument): Projection | null {
  const names = new Set<string>();
  let isInclusion: boolean | null = null;
  let isIdWanted: boolean | null = null;
  for (const [path, value] of Object.entries(projection)) {
    const flag = typeof value === "boolean" ? value : numberOf(value);
    if (flag === null || path.includes(".") || path.startsWith("$")) return null;
    const isWanted = flag !== false && flag !== 0;
    if (path === "_id") {
      isIdWanted = isWanted;
      continue;
    }
    if (isInclusion !== null && isInclusion !== isWanted) return null;
    isInclusion = isWanted;
    names.add(path);
  }
  isInclusion ??= isIdWanted ?? true;
  if ((isIdWanted ?? true) === isInclusion) names.add("_id");
  if (!isInclusion && isIdWanted === true) names.delete("_id");
  return fieldSelection(names, isInclusion);
}

/** mingo works on typed values here: it moves them without looking inside. */
function generalProjection(projection: BsonDocument): Projection {
  const promoted = promote(projection) as BsonDocument;
  const query = new Query({}, { context: Context.init() });
  return (document) => {
    const [projected] = query.find<BsonDocument>([decodeTyped(document)], promoted).all();
    return encode(projected ?? {});
  };
}
