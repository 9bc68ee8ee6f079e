import type { EmcacheApi } from "./emcache-api.ts";
import { generationOf } from "./workload.ts";

/** Rows read at once. */
const PAGE_ROWS = 10_000;

/** Violations that a message lists; more are only counted. */
const VIOLATIONS_SHOWN = 10;

/** What is needed of a row of the log. */
export interface HistoryRow {
  readonly position: number;
  readonly operation: string;
  readonly docId: string;
  readonly origin: string;
  /** The document's counter `seq`; null for all but upserts. */
  readonly seq: number | null;
}

/** What the rows of one entity version show. */
export interface HistoryReport {
  readonly rows: number;
  readonly violations: readonly string[];
  readonly violationCount: number;
  readonly copyRows: number;
  readonly streamRows: number;
}

/**
 * Invariant 4 over the rows of one entity version whose documents carry a counter `seq` (`workload.ts`): positions
 * rise, no upsert shows a lower `seq` than an earlier one did, and after a delete only a later life of the document
 * follows. Rows of the copy count like all others.
 */
export class HistoryCheck {
  readonly #documents = new Map<string, { seq: number; position: number; isDeleted: boolean }>();
  readonly #violations: string[] = [];
  readonly #isGapless: boolean;
  #violationCount = 0;
  #lastPosition = 0;
  #copyRows = 0;
  #streamRows = 0;

  /** @param options.isGapless whether the rows are the whole log, in which no position is missing */
  constructor(options: { readonly isGapless?: boolean } = {}) {
    this.#isGapless = options.isGapless ?? false;
  }

  add(row: HistoryRow): void {
    const { position } = row;
    if (position <= this.#lastPosition) this.#violate(`position ${position} follows ${this.#lastPosition}`);
    if (this.#isGapless && this.#lastPosition > 0 && position !== this.#lastPosition + 1) {
      this.#violate(`positions ${this.#lastPosition + 1} to ${position - 1} are missing`);
    }
    this.#lastPosition = position;
    if (row.origin === "copy") this.#copyRows += 1;
    else this.#streamRows += 1;
    if (row.operation === "upsert") this.#upsert(row);
    else if (row.operation === "delete") this.#delete(row);
  }

  report(): HistoryReport {
    return {
      rows: this.#copyRows + this.#streamRows,
      violations: this.#violations,
      violationCount: this.#violationCount,
      copyRows: this.#copyRows,
      streamRows: this.#streamRows,
    };
  }

  #upsert({ position, docId, origin, seq }: HistoryRow): void {
    if (seq === null) {
      this.#violate(`row ${position}: the upsert of ${docId} carries no seq`);
      return;
    }
    const before = this.#documents.get(docId);
    if (before !== undefined) {
      const what = `row ${position} (${origin}) shows document ${docId} at seq ${seq}`;
      if (before.isDeleted && generationOf(seq) <= generationOf(before.seq)) {
        this.#violate(`${what}, which row ${before.position} deleted after seq ${before.seq}`);
      } else if (seq < before.seq) {
        this.#violate(`${what}, row ${before.position} had shown seq ${before.seq}`);
      }
    }
    this.#documents.set(docId, { seq, position, isDeleted: false });
  }

  #delete({ position, docId }: HistoryRow): void {
    const before = this.#documents.get(docId);
    this.#documents.set(docId, { seq: before?.seq ?? 0, position, isDeleted: true });
  }

  #violate(text: string): void {
    this.#violationCount += 1;
    if (this.#violations.length < VIOLATIONS_SHOWN) this.#violations.push(text);
  }
}

/** One page of `GET /api/oplogs/{entity}`, as far as it is looked at here. */
interface OplogAnswer {
  readonly position: number;
  readonly has_more: boolean;
  readonly entries: readonly {
    readonly id: number;
    readonly operation: string;
    readonly doc_id: string;
    readonly origin: string;
    readonly data: readonly unknown[] | null;
  }[];
}

/**
 * Reads an entity's whole log through the REST API and checks it. `seq` must be the entity's first column.
 *
 * @param options.isGapless whether the log holds rows of this entity version only
 */
export async function checkHistory(
  api: EmcacheApi,
  entity: string,
  options: { readonly isGapless?: boolean } = {},
): Promise<HistoryReport> {
  const check = new HistoryCheck(options);
  let after = "";
  for (;;) {
    const page = await api.call<OplogAnswer>("GET", `/api/oplogs/${entity}?limit=${PAGE_ROWS}${after}`);
    for (const entry of page.entries) {
      const seq = entry.data?.[0];
      check.add({
        position: entry.id,
        operation: entry.operation,
        docId: entry.doc_id,
        origin: entry.origin,
        seq: typeof seq === "number" ? seq : null,
      });
    }
    if (!page.has_more) return check.report();
    after = `&after=${page.position}`;
  }
}
