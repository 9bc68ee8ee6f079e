import { BSON, Decimal128, Double, Int32, Long, ObjectId, UUID } from "mongodb";
import { idTypeClass } from "@emcache/cache-file";
import { BSON_TYPE } from "../entity/bson-type.ts";
import type { RowMapper } from "../entity/row-mapper.ts";

const INT32_MAX = 2n ** 31n - 1n;

/** Values that may have been the `_id` of a row, by its text and the class of its type. */
function* candidates(docId: string, idClass: number): Generator {
  if (idClass === BSON_TYPE.objectId) yield new ObjectId(docId);
  else if (idClass === BSON_TYPE.string) yield docId;
  else if (idClass === BSON_TYPE.bool) yield docId === "true";
  else if (idClass === BSON_TYPE.date) yield new Date(docId);
  else if (idClass === BSON_TYPE.double) yield* numbers(docId);
  else if (idClass === BSON_TYPE.binary && docId.length === 36) yield new UUID(docId);
  else yield BSON.EJSON.parse(docId, { relaxed: false });
}

function* numbers(text: string): Generator {
  if (/^-?\d{1,19}$/.test(text)) {
    const value = BigInt(text);
    yield value <= INT32_MAX && value >= -INT32_MAX ? new Int32(Number(value)) : Long.fromBigInt(value);
  }
  yield new Double(Number(text));
  yield Decimal128.fromString(text);
}

/**
 * BSON `{_id: …}` of a document whose row has this text and class, so that it can be looked up and, where it is gone,
 * logged as deleted. Null where no `_id` can be told from the text: then only a new copy removes the row.
 */
export function documentKeyOf(docId: string, idClass: number, mapper: RowMapper): Buffer | null {
  const values = candidates(docId, idClass);
  for (;;) {
    try {
      const { value, done } = values.next();
      if (done === true) return null;
      const documentKey = Buffer.from(BSON.serialize({ _id: value }, { ignoreUndefined: false }));
      const key = mapper.mapKey(documentKey);
      if (key.docId === docId && idTypeClass(key.idType) === idClass) return documentKey;
    } catch {
      // Not the text of such a value; a generator that threw has ended.
    }
  }
}
