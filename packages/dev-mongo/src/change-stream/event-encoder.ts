import { DocumentWriter } from "../bson/document-writer.ts";
import { encode } from "../bson/codec.ts";
import { CommandError } from "../command-error.ts";
import {
  type CollectionEntry,
  type DocumentEntry,
  type EntryNamespace,
  type OplogEntry,
  isDocumentEntry,
} from "../oplog/oplog-entry.ts";
import { invalidateTokenOf, tokenOf } from "../oplog/resume-token.ts";
import type { StreamOptions } from "./stream-options.ts";
import { updateDescription } from "./update-description.ts";

/** Binary subtype of a UUID. */
const UUID_SUBTYPE = 4;

/** The present state of an updated document, for `updateLookup`; null where it is gone. */
export type LookUp = (entry: DocumentEntry) => Buffer | null;

/** How a stream's events look, beside what its pipeline does to them. */
export interface EventForm extends Pick<StreamOptions, "fullDocument" | "beforeChange" | "isExpanded"> {
  /** Whether the pipeline drops `updateDescription`, which then isn't computed. */
  readonly hasDescription: boolean;
}

/** A change event as BSON (MongoDB manual, "Change Events"). */
export class EventEncoder {
  readonly #writer = new DocumentWriter();
  readonly #form: EventForm;
  readonly #lookUp: LookUp;

  constructor(form: EventForm, lookUp: LookUp) {
    this.#form = form;
    this.#lookUp = lookUp;
  }

  /** Whether the event of this entry is the same whenever it is read. */
  isConstant(entry: OplogEntry): boolean {
    return entry.operation !== "update" || this.#form.fullDocument !== "updateLookup";
  }

  encode(entry: OplogEntry): Buffer {
    const writer = this.#writer;
    writer.begin("_id").string("_data", tokenOf(entry)).end();
    writer.string("operationType", entry.operation).timestamp("clusterTime", entry.time);
    if (this.#form.isExpanded && entry.namespace.uuid !== null) {
      writer.binary("collectionUUID", UUID_SUBTYPE, entry.namespace.uuid);
    }
    writer.date("wallTime", entry.wallTimeMs);
    if (isDocumentEntry(entry)) this.#documentFields(entry);
    else this.#collectionFields(entry);
    return writer.finish();
  }

  /** The event that says that the stream ends here. */
  encodeInvalidate(entry: OplogEntry): Buffer {
    const writer = this.#writer;
    writer.begin("_id").string("_data", invalidateTokenOf(entry)).end();
    writer.string("operationType", "invalidate").timestamp("clusterTime", entry.time);
    return writer.date("wallTime", entry.wallTimeMs).finish();
  }

  #documentFields(entry: DocumentEntry): void {
    const writer = this.#writer;
    const { operation, after, transaction } = entry;
    if (transaction !== null) {
      writer.document("lsid", transaction.lsid).int64("txnNumber", transaction.txnNumber);
    }
    if (after !== null && (operation === "insert" || operation === "replace")) writer.document("fullDocument", after);
    writeNamespace(writer, "ns", entry.namespace);
    writer.document("documentKey", entry.documentKey);
    if (operation === "update") this.#updateFields(entry);
    if (operation !== "insert" && this.#form.beforeChange !== "off") {
      this.#image("fullDocumentBeforeChange", entry, entry.before, this.#form.beforeChange === "required");
    }
  }

  #updateFields(entry: DocumentEntry): void {
    const { fullDocument, hasDescription, isExpanded } = this.#form;
    if (hasDescription && entry.before !== null && entry.after !== null) {
      this.#writer.document("updateDescription", updateDescription(entry.before, entry.after, isExpanded));
    }
    if (fullDocument === "updateLookup") this.#documentOrNull("fullDocument", this.#lookUp(entry));
    else if (fullDocument !== "default") {
      this.#image("fullDocument", entry, entry.after, fullDocument === "required");
    }
  }

  /** A pre- or post-image, which exists only where the collection was told to keep them. */
  #image(name: string, entry: DocumentEntry, image: Buffer | null, isRequired: boolean): void {
    const available = entry.hasImages ? image : null;
    if (available === null && isRequired) {
      throw new CommandError(47, `Change stream was configured to require a ${name}, but it was not found for event`, {
        labels: ["NonResumableChangeStreamError"],
      });
    }
    this.#documentOrNull(name, available);
  }

  #documentOrNull(name: string, document: Buffer | null): void {
    if (document === null) this.#writer.null(name);
    else this.#writer.document(name, document);
  }

  #collectionFields(entry: CollectionEntry): void {
    const writer = this.#writer;
    writeNamespace(writer, "ns", entry.namespace);
    if (entry.to !== null) writeNamespace(writer, "to", entry.to);
    if (this.#form.isExpanded && Object.keys(entry.description).length > 0) {
      writer.document("operationDescription", encode(entry.description));
    }
  }
}

function writeNamespace(writer: DocumentWriter, name: string, namespace: EntryNamespace): void {
  writer.begin(name).string("db", namespace.database);
  if (namespace.collection !== "") writer.string("coll", namespace.collection);
  writer.end();
}
