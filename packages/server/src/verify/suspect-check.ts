import { lookUpDocuments } from "../source/document-lookup.ts";
import { type ClusterTime, laterOf } from "../source/cluster-time.ts";
import { idKeyOf } from "../source/raw-document.ts";
import type { CachedRow, CachedRows } from "./cached-rows.ts";
import type { ExpectedRow, ExpectedRows } from "./expected-rows.ts";
import type { LogFollower } from "./log-follower.ts";
import { rowFingerprint } from "./row-fingerprint.ts";
import type { VerificationContext } from "./verification-context.ts";

/** A document that seemed to differ. */
export interface Suspect {
  readonly docId: string;
  readonly idClass: number;
  readonly documentKey: Buffer;
  /** Of the row that the document was to have when it was read with its range; null where none was read. */
  readonly fingerprint: string | null;
}

/** One that does, after it was read again. */
export interface Confirmed extends Omit<Suspect, "documentKey" | "fingerprint"> {
  /** Whether the source has the document: its row is to be there. */
  readonly isInSource: boolean;
  /** Null where no look-up by `_id` finds the document: it can't be repaired alone. */
  readonly documentKey: Buffer | null;
  /** What the document's row is to be, as looked up; null where none was. */
  readonly expected: ExpectedRow | null;
  /** What the cache has; null: nothing. */
  readonly cached: CachedRow | null;
}

/** Suspects of one look-up: as many as a look-up of the capture's. */
export const SUSPECTS_MAX = 100;

/** A document that changes whenever it is looked at is left alone after so many times. */
const ATTEMPTS_MAX = 3;

const LOOKUP_BYTES_MAX = 8 * 1024 * 1024;

/** Whether a row is what a document is to have; a row of another type's document is a reject's, and no difference. */
export function isAsExpected(
  expected: { docId: string; idClass: number; fingerprint: string },
  cached: CachedRow,
): boolean {
  return cached.idClass !== expected.idClass || rowFingerprint(cached.values) === expected.fingerprint;
}

/** Looks at documents that seem to differ once more. */
export class SuspectCheck {
  readonly #context: VerificationContext;
  readonly #expected: ExpectedRows;
  readonly #follower: LogFollower;
  readonly #openRows: () => CachedRows;
  /** Documents that could not be judged, because the stream touched them each time. */
  unsettled = 0;

  constructor(
    context: VerificationContext,
    parts: { expected: ExpectedRows; follower: LogFollower; openRows: () => CachedRows },
  ) {
    this.#context = context;
    this.#expected = parts.expected;
    this.#follower = parts.follower;
    this.#openRows = parts.openRows;
  }

  /**
   * Those of at most `SUSPECTS_MAX` suspects that differ still: each is read from the source, the capture and the
   * cache are waited for, and it is compared with its row, unless the stream has touched it meanwhile.
   */
  async confirm(suspects: readonly Suspect[], after: ClusterTime | null): Promise<Confirmed[]> {
    const confirmed: Confirmed[] = [];
    let left = suspects;
    for (let attempt = 0; attempt < ATTEMPTS_MAX && left.length > 0; attempt++) {
      const judged = await this.#judge(left, after);
      confirmed.push(...judged.different);
      left = judged.touched;
    }
    this.unsettled += left.length;
    return confirmed;
  }

  async #judge(
    suspects: readonly Suspect[],
    after: ClusterTime | null,
  ): Promise<{ different: Confirmed[]; touched: Suspect[] }> {
    const { signal, entity, ask } = this.#context;
    const since = this.#follower.position;
    const { documents, time } = await this.#lookUp(suspects, after);
    await ask({ source: entity.client, time, collection: entity.source, documentKeys: [] }, signal);
    await this.#follower.advance(signal);
    const rows = this.#openRows();
    let cached: Map<string, CachedRow>;
    try {
      cached = rows.find(suspects.map(({ docId }) => docId));
    } finally {
      rows.close();
    }
    await this.#follower.advance(signal);
    const different: Confirmed[] = [];
    const touched: Suspect[] = [];
    for (const suspect of suspects) {
      if (this.#follower.hasTouched(suspect.docId, since)) {
        touched.push(suspect);
        continue;
      }
      const row = cached.get(suspect.docId) ?? null;
      const document = documents.get(idKeyOf(suspect.documentKey) ?? "");
      if (document === undefined && suspect.fingerprint !== null) {
        // It was read, and the stream knows nothing of its end: a server that can't find an `_id` of its type.
        const { docId, idClass, fingerprint } = suspect;
        if (row !== null && isAsExpected({ docId, idClass, fingerprint }, row)) continue;
        different.push({ docId, idClass, documentKey: null, isInSource: true, expected: null, cached: row });
        continue;
      }
      const expected = document === undefined ? null : this.#expected.of(document);
      if (!isDifferent(suspect, expected, row)) continue;
      different.push({ ...suspect, isInSource: expected !== null, expected, cached: row });
    }
    return { different, touched };
  }

  async #lookUp(
    suspects: readonly Suspect[],
    after: ClusterTime | null,
  ): Promise<{ documents: Map<string, Buffer>; time: ClusterTime }> {
    const { source, entity, signal } = this.#context;
    const documents = new Map<string, Buffer>();
    let time: ClusterTime = after ?? 0n;
    // Where they are too large together, each comes alone.
    const keys = suspects.map(({ documentKey }) => documentKey);
    const options = { after, bytesMax: LOOKUP_BYTES_MAX, signal };
    const together = await lookUpDocuments(source, entity.source, keys, options);
    const found = together === null ? [] : [together];
    if (together === null) {
      for (const key of keys) {
        const alone = await lookUpDocuments(source, entity.source, [key], options);
        if (alone !== null) found.push(alone);
      }
    }
    for (const part of found) {
      time = laterOf(time, part.operationTime) ?? time;
      for (const [idKey, document] of part.documents) documents.set(idKey, document);
    }
    return { documents, time };
  }
}

function isDifferent(suspect: Suspect, expected: ExpectedRow | null, cached: CachedRow | null): boolean {
  if (expected === null) return cached !== null && cached.idClass === suspect.idClass;
  if (cached === null) return true;
  return !isAsExpected({ ...expected, fingerprint: rowFingerprint(expected.values) }, cached);
}
