import type { AnyBulkWriteOperation, Collection } from "mongodb";
import { Double, Int32, Long } from "mongodb";
import type { EntityRequest } from "./emcache-api.ts";
import { SeededRandom } from "./seeded-random.ts";

/**
 * A document of some 350 bytes. `seq` only rises in the life of one `_id`: by one with each change, to the next
 * multiple of `GENERATION` with each re-insertion, so that whoever reads it can tell which state is older.
 */
export interface WorkloadDocument {
  readonly _id: number;
  readonly seq: Int32;
  readonly name: string;
  readonly email: string;
  readonly age: Int32;
  readonly score: Double;
  readonly active: boolean;
  readonly updated_at: Date;
  readonly counter: Long;
  readonly tags: readonly string[];
  readonly address: { readonly city: string; readonly zip: string };
  readonly note: string;
}

/** Changes that one life of a document may have. */
export const GENERATION = 100_000;

export function generationOf(seq: number): number {
  return Math.floor(seq / GENERATION);
}

/** How a collection of such documents is cached. `seq` is the first column. */
export function workloadEntity(name: string, collection: string, client = "main"): EntityRequest {
  return {
    name,
    client,
    source: collection,
    shape: {
      id_column: { path: "$._id", type: "string" },
      columns: [
        { name: "seq", type: "integer", path: "$.seq" },
        { name: "name", type: "string", path: "$.name" },
        { name: "email", type: "string", path: "$.email" },
        { name: "age", type: "integer", path: "$.age" },
        { name: "score", type: "number", path: "$.score" },
        { name: "active", type: "bool", path: "$.active" },
        { name: "updated_at", type: "string", path: "$.updated_at" },
        { name: "counter", type: "any", path: "$.counter" },
        { name: "tags", type: "jsonb", path: "$.tags" },
        { name: "city", type: "string", path: "$.address.city" },
        { name: "note", type: "string", path: "$.note" },
      ],
      indexes: [{ name: "email_idx", columns: ["email"] }],
    },
  };
}

/** What was written, by kind, in documents. */
export interface WorkloadCounts {
  inserts: number;
  updates: number;
  replaces: number;
  deletes: number;
  /** Bulks whose outcome is unknown (the server was killed); their documents are written again later. */
  failed: number;
}

export type WorkloadKind = "insert" | "update" | "replace" | "delete";

export interface WorkloadOptions {
  readonly seed: number;
  /** Writers at the same time. Each has documents of its own, so that the order of one document's changes is known. */
  readonly clients?: number;
  /** Documents in one bulk. */
  readonly bulkSize?: number;
  /** Ids in all at most: a small number makes the same documents change, go and come back all the time. */
  readonly idsMax?: number;
  /** Where ids begin, so that several workloads can share a collection. */
  readonly firstId?: number;
  /** Whether an error is counted and lived with (a server that is being killed) instead of thrown. */
  readonly isErrorExpected?: boolean;
}

interface DocumentState {
  seq: number;
  exists: boolean;
}

/** A seeded random writer of `WorkloadDocument`s. */
export class Workload {
  readonly counts: WorkloadCounts = { inserts: 0, updates: 0, replaces: 0, deletes: 0, failed: 0 };
  readonly #collection: Collection;
  readonly #options: Required<WorkloadOptions>;
  readonly #writers: Writer[];

  constructor(collection: Collection, options: WorkloadOptions) {
    this.#collection = collection;
    this.#options = { clients: 2, bulkSize: 200, firstId: 0, idsMax: Infinity, isErrorExpected: false, ...options };
    this.#writers = Array.from({ length: this.#options.clients }, (_, index) => {
      const { firstId, clients, idsMax } = this.#options;
      const random = new SeededRandom(options.seed + index * 7919);
      return new Writer(random, { firstId: firstId + index, step: clients, endId: firstId + idsMax });
    });
  }

  /** Documents that exist now, as far as is known. */
  get documentCount(): number {
    return this.#writers.reduce((sum, writer) => sum + writer.existing, 0);
  }

  /** Writes `count` documents' worth of one kind, or of all kinds mixed, as fast as the server takes them. */
  async write(kind: WorkloadKind | "mixed", count: number): Promise<void> {
    let left = count;
    await Promise.all(
      this.#writers.map(async (writer) => {
        while (left > 0) {
          const size = Math.min(left, this.#options.bulkSize);
          left -= size;
          await this.#bulk(writer, kind, size);
        }
      }),
    );
  }

  /** Writes all kinds mixed until `signal` aborts. */
  async writeUntil(signal: AbortSignal): Promise<void> {
    await Promise.all(
      this.#writers.map(async (writer) => {
        while (!signal.aborted) await this.#bulk(writer, "mixed", writer.random.integer(1, this.#options.bulkSize));
      }),
    );
  }

  /** Writes whatever is of unknown outcome once more, so that every document is in a known state. */
  async settle(): Promise<void> {
    for (const writer of this.#writers) {
      const operations = writer.takeUnknown();
      if (operations.length > 0) await this.#collection.bulkWrite(operations, { ordered: false });
    }
  }

  async #bulk(writer: Writer, kind: WorkloadKind | "mixed", size: number): Promise<void> {
    const plan = writer.plan(kind, size);
    try {
      await this.#send(plan);
      writer.done(plan);
      this.#count(plan);
    } catch (error) {
      if (!this.#options.isErrorExpected) throw error;
      this.counts.failed += 1;
      writer.failed(plan);
    }
  }

  /** An insert alone goes by insertMany, which servers take several times faster than a mixed bulk. */
  async #send(plan: Plan): Promise<void> {
    if (plan.steps.length === 0) return;
    if (plan.steps.every((step) => step.kind === "insert")) {
      const documents = plan.steps.map((step) => documentOf(step.id, step.seq));
      await this.#collection.insertMany(documents as never[], { ordered: false });
      return;
    }
    if (plan.steps.every((step) => step.kind === "delete")) {
      await this.#collection.deleteMany({ _id: { $in: plan.steps.map((step) => new Int32(step.id)) } } as never);
      return;
    }
    await this.#collection.bulkWrite(plan.steps.map(operationOf), { ordered: false });
  }

  #count(plan: Plan): void {
    for (const step of plan.steps) this.counts[`${step.kind}s`] += 1;
  }
}

interface Step {
  readonly kind: WorkloadKind;
  readonly id: number;
  readonly seq: number;
}

/** One bulk: every document at most once. */
interface Plan {
  readonly steps: readonly Step[];
}

/** One client and its documents. */
class Writer {
  readonly random: SeededRandom;
  readonly #states = new Map<number, DocumentState>();
  /** Ids that exist, for picking one by chance, and where each stands there. */
  readonly #ids: number[] = [];
  readonly #places = new Map<number, number>();
  readonly #deleted: number[] = [];
  readonly #unknown = new Set<number>();
  readonly #step: number;
  readonly #endId: number;
  #nextId: number;

  constructor(random: SeededRandom, ids: { readonly firstId: number; readonly step: number; readonly endId: number }) {
    this.random = random;
    this.#nextId = ids.firstId;
    this.#step = ids.step;
    this.#endId = ids.endId;
  }

  get existing(): number {
    return this.#ids.length;
  }

  plan(kind: WorkloadKind | "mixed", size: number): Plan {
    const steps: Step[] = [];
    const taken = new Set<number>();
    for (let count = 0; count < size; count += 1) {
      const wanted = kind === "mixed" ? this.#mixedKind() : kind;
      const step = wanted === "insert" ? this.#insert(kind, taken) : this.#change(wanted, taken);
      if (step !== null) steps.push(step);
    }
    return { steps };
  }

  done(plan: Plan): void {
    for (const { kind, id, seq } of plan.steps) {
      const state = this.#states.get(id);
      if (state === undefined) this.#states.set(id, { seq, exists: true });
      else state.seq = seq;
      this.#setExisting(id, kind !== "delete");
      this.#unknown.delete(id);
    }
  }

  /** Nobody knows what of it the server did: the documents are kept out of reach until they are written anew. */
  failed(plan: Plan): void {
    this.done(plan);
    for (const { id } of plan.steps) {
      this.#setExisting(id, false);
      this.#unknown.add(id);
    }
    const unknown = this.#unknown;
    for (let at = this.#deleted.length - 1; at >= 0; at -= 1) {
      if (unknown.has(this.#deleted[at] ?? -1)) this.#deleted.splice(at, 1);
    }
  }

  takeUnknown(): AnyBulkWriteOperation[] {
    const operations = [...this.#unknown].map((id) => {
      const seq = nextLife(this.#states.get(id)?.seq ?? 0);
      this.done({ steps: [{ kind: "replace", id, seq }] });
      return operationOf({ kind: "replace", id, seq });
    });
    this.#unknown.clear();
    return operations;
  }

  #mixedKind(): WorkloadKind {
    const draw = this.random.next();
    if (draw < 0.35) return "insert";
    if (draw < 0.75) return "update";
    return draw < 0.85 ? "replace" : "delete";
  }

  /** A new document, or in a mixed load now and then one that was deleted. */
  #insert(kind: WorkloadKind | "mixed", taken: Set<number>): Step | null {
    const isFull = this.#nextId >= this.#endId;
    if (isFull && this.#deleted.length === 0) return null;
    if (isFull || (kind === "mixed" && this.#deleted.length > 0 && this.random.next() < 0.3)) {
      const at = this.random.integer(0, this.#deleted.length - 1);
      const id = this.#deleted[at] ?? 0;
      if (taken.has(id)) return null;
      this.#deleted[at] = this.#deleted.at(-1) ?? 0;
      this.#deleted.pop();
      taken.add(id);
      return { kind: "insert", id, seq: nextLife(this.#states.get(id)?.seq ?? 0) };
    }
    const id = this.#nextId;
    this.#nextId += this.#step;
    taken.add(id);
    return { kind: "insert", id, seq: GENERATION };
  }

  #change(kind: WorkloadKind, taken: Set<number>): Step | null {
    if (this.#ids.length === 0) return null;
    const id = this.random.pick(this.#ids);
    if (taken.has(id)) return null;
    taken.add(id);
    return { kind, id, seq: (this.#states.get(id)?.seq ?? 0) + 1 };
  }

  #setExisting(id: number, exists: boolean): void {
    const place = this.#places.get(id);
    if (exists && place === undefined) {
      this.#places.set(id, this.#ids.length);
      this.#ids.push(id);
    } else if (!exists && place !== undefined) {
      const last = this.#ids.at(-1) ?? id;
      this.#ids[place] = last;
      this.#places.set(last, place);
      this.#ids.pop();
      this.#places.delete(id);
      this.#deleted.push(id);
    }
  }
}

function nextLife(seq: number): number {
  return (generationOf(seq) + 1) * GENERATION;
}

function operationOf({ kind, id, seq }: Step): AnyBulkWriteOperation {
  const filter = { _id: new Int32(id) } as never;
  switch (kind) {
    case "insert":
      return { insertOne: { document: documentOf(id, seq) as never } };
    case "replace":
      return { replaceOne: { filter, replacement: withoutId(documentOf(id, seq)), upsert: true } };
    case "update":
      return { updateOne: { filter, update: { $set: changesOf(id, seq) } } };
    case "delete":
      return { deleteOne: { filter } };
  }
}

/** What the document with that id and version holds. */
function documentOf(id: number, seq: number): WorkloadDocument {
  return {
    _id: new Int32(id) as unknown as number,
    ...changesOf(id, seq),
    name: `Name of number ${id} with ünïcödé`,
    email: `user${id}@example.com`,
    tags: [`t${id % 7}`, `t${seq % 11}`],
    address: { city: `City ${id % 100}`, zip: String(10_000 + (id % 90_000)) },
    note: "a note that makes the document as long as real ones are ".repeat(2),
  };
}

function changesOf(
  id: number,
  seq: number,
): Pick<WorkloadDocument, "seq" | "age" | "score" | "active" | "updated_at" | "counter"> {
  return {
    seq: new Int32(seq),
    age: new Int32((id + seq) % 100),
    score: new Double((id * 31 + seq) / 7),
    active: (id + seq) % 2 === 0,
    updated_at: new Date(1_700_000_000_000 + seq * 1_000 + (id % 1_000)),
    counter: Long.fromBigInt(2n ** 53n + BigInt(id) * 1_000n + BigInt(seq)),
  };
}

function withoutId({ _id, ...rest }: WorkloadDocument): Omit<WorkloadDocument, "_id"> {
  return rest;
}
