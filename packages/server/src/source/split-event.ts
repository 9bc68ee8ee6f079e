import { EmcacheError } from "@emcache/protocol";
import { findElement, forEachElement, valueOf } from "./raw-document.ts";

/**
 * Puts split events together (MongoDB manual, "$changeStreamSplitLargeEvent"): a large event comes as fragments that
 * each hold some of its top-level fields, `_id` (a token of its own) and `splitEvent: {fragment, of}`.
 *
 * Fragments that don't continue what was begun are repetitions, which a server may send after a resume: they are
 * dropped up to the next whole event or first fragment.
 */
export class SplitEventAssembler {
  #fragments: Buffer[] = [];

  /** Whether an event is incomplete: the stream's place lies between fragments, where no checkpoint may lie. */
  get isOpen(): boolean {
    return this.#fragments.length > 0;
  }

  /** Forgets what was begun: the stream was re-opened before it. */
  reset(): void {
    this.#fragments = [];
  }

  /** The whole event, once its last fragment is there; null before. An event that was not split is returned as it is. */
  take(bytes: Buffer): Buffer | null {
    const split = findElement(bytes, "splitEvent");
    if (split === null) {
      this.#fragments = [];
      return bytes;
    }
    const place = valueOf(bytes, split);
    const fragment = int32In(place, "fragment");
    const of = int32In(place, "of");
    if (fragment === 1) this.#fragments = [];
    else if (fragment !== this.#fragments.length + 1) return null;
    // A copy: the fragments may come in several replies.
    this.#fragments.push(of === 1 ? bytes : Buffer.from(bytes));
    if (fragment < of) return null;
    const fragments = this.#fragments;
    this.#fragments = [];
    return of === 1 ? bytes : joinFragments(fragments);
  }
}

/** One document with the fields of all fragments; `_id` is the last one's, after which the stream goes on. */
function joinFragments(fragments: readonly Buffer[]): Buffer {
  const parts: Buffer[] = [];
  for (const [index, fragment] of fragments.entries()) {
    const id = findElement(fragment, "_id");
    const isLast = index === fragments.length - 1;
    forEachElement(fragment, 0, (element) => {
      if (element.nameStart === id?.nameStart && !isLast) return;
      parts.push(fragment.subarray(element.nameStart - 1, element.valueEnd));
    });
  }
  const size = parts.reduce((sum, part) => sum + part.length, 5);
  const header = Buffer.alloc(4);
  header.writeInt32LE(size);
  return Buffer.concat([header, ...parts, Buffer.alloc(1)], size);
}

function int32In(document: Buffer, name: string): number {
  const element = findElement(document, name);
  if (element?.type !== 0x10) throw new EmcacheError("source_event_invalid", `a split event has no \`${name}\``);
  return document.readInt32LE(element.valueStart);
}
