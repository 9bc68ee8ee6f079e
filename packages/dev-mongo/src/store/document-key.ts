import { keyOfElement } from "../bson/key-string.ts";
import { BSON_TYPE, idElementOf } from "../bson/raw-document.ts";
import { CommandError } from "../command-error.ts";

/** Key string of a document's `_id`. */
export function keyOfDocument(document: Buffer): string {
  const id = idElementOf(document);
  if (id === null) throw new CommandError(2, "a document has no _id");
  return keyOfElement(document, id);
}

/** @throws CommandError 53 (InvalidIdField) for an `_id` that is an array, a regular expression or undefined */
export function assertIdAllowed(document: Buffer): void {
  const id = idElementOf(document);
  const type = id?.type;
  if (type === BSON_TYPE.array || type === BSON_TYPE.regularExpression || type === BSON_TYPE.undefined) {
    throw new CommandError(53, "The '_id' value cannot be of type array, regex or undefined");
  }
}
