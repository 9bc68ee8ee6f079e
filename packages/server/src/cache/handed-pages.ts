import type { OplogPage } from "../oplog/oplog-reader.ts";
import type { WakeWord } from "./wake-word.ts";

/**
 * Batches that this process committed and handed over in memory, so that a cache that is just before one need not
 * have it read back. They come in the order of their positions and are few (`WakeWord.offerBatch`); those that the
 * reader has passed are dropped.
 */
export class HandedPages {
  readonly #wakeWord: WakeWord;
  #pages: OplogPage[] = [];

  constructor(wakeWord: WakeWord) {
    this.#wakeWord = wakeWord;
  }

  add(page: OplogPage): void {
    this.#pages.push(page);
  }

  /** The page of log `logId` that begins just after a position; null where it was not handed over. */
  take(after: number, logId: string): OplogPage | null {
    this.#drop((page) => page.position <= after || page.logId !== logId);
    const page = this.#pages.find((candidate) => firstOf(candidate) === after + 1) ?? null;
    if (page === null) return null;
    this.#drop((candidate) => candidate === page);
    const head = Math.max(page.position, this.#wakeWord.head);
    // Wake-ups are joined: what came after this batch is looked for at once.
    return { ...page, head, full: head > page.position };
  }

  #drop(isPassed: (page: OplogPage) => boolean): void {
    this.#pages = this.#pages.filter((page) => {
      if (!isPassed(page)) return true;
      this.#wakeWord.batchDone();
      return false;
    });
  }
}

function firstOf(page: OplogPage): number {
  return page.rows[0]?.position ?? page.position + 1;
}
