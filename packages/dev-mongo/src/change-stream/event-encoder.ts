import { DocumentWriter } from "../bson/document-writer.ts";
import { encode } from "../bson/codec.ts";
import { bodyOf, idElementOf } from "../bson/raw-document.ts";
import { CommandError } from "../command-error.ts";
import {
  type CollectionEntry,
  type DocumentEntry,
  type EntryNamespace,
  type OplogEntry,
  documentIn,
  isDocumentEntry,
} from "../oplog/oplog-entry.ts";
import { invalidateTokenOf, tokenBytesMax, writeToken } from "../oplog/resume-token.ts";
import type { StreamOptions } from "./stream-options.ts";
import { updateDescription } from "./update-description.ts";

/** Events are made one after the other into slabs, which go when all their events have left the oplog. */
const SLAB_BYTES = 256 * 1024;

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
  readonly #writer = new DocumentWriter(SLAB_BYTES);
  readonly #constants = new Map<string, Buffer>();
  readonly #namespaces = new WeakMap<EntryNamespace, Buffer>();
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
    writer.begin("_id");
    writer.asciiBy("_data", tokenBytesMax(entry), (target, at) => writeToken(target, at, entry)).end();
    writer.times(this.#constantFields(entry.operation), entry.time, entry.wallTimeMs);
    if (this.#form.isExpanded && entry.namespace.uuid !== null) {
      writer.binary("collectionUUID", UUID_SUBTYPE, entry.namespace.uuid);
    }
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
    this.#writeNamespace(entry.namespace);
    const document = documentIn(entry);
    const id = idElementOf(document);
    writer.begin("documentKey");
    if (id !== null) writer.elements(document, id.start, id.valueEnd);
    writer.end();
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

  /** `operationType`, `clusterTime` and `wallTime`, made once for each operation; the times are filled in. */
  #constantFields(operation: string): Buffer {
    let fields = this.#constants.get(operation);
    if (fields === undefined) {
      const writer = new DocumentWriter().string("operationType", operation).timestamp("clusterTime", 0n);
      fields = bodyOf(writer.date("wallTime", 0).finish());
      this.#constants.set(operation, fields);
    }
    return fields;
  }

  /** The element `ns`, made once for each namespace. */
  #writeNamespace(namespace: EntryNamespace): void {
    let element = this.#namespaces.get(namespace);
    if (element === undefined) {
      element = bodyOf(writeNamespace(new DocumentWriter(), "ns", namespace).finish());
      this.#namespaces.set(namespace, element);
    }
    this.#writer.elements(element, 0, element.length);
  }

  #collectionFields(entry: CollectionEntry): void {
    const writer = this.#writer;
    this.#writeNamespace(entry.namespace);
    if (entry.to !== null) writeNamespace(writer, "to", entry.to);
    if (this.#form.isExpanded && Object.keys(entry.description).length > 0) {
      writer.document("operationDescription", encode(entry.description));
    }
  }
}

function writeNamespace(writer: DocumentWriter, name: string, namespace: EntryNamespace): DocumentWriter {
  writer.begin(name).string("db", namespace.database);
  if (namespace.collection !== "") writer.string("coll", namespace.collection);
  return writer.end();
}
