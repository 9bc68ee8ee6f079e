import type { CacheSlot } from "./cache-slot.ts";

/** Caches that take the same page. */
export interface Group {
  /** The page begins after this position; caches that are further on skip what they have. */
  readonly after: number;
  readonly slots: readonly CacheSlot[];
}

/** Positions within which caches share pages: rather than reading twice, some skip rows that they have. */
const NEAR_POSITIONS = 10_000;

/**
 * Who gets a page in this turn: the caches near the foremost one together, and of the others those that are furthest
 * behind at one place. A cache whose history was not checked yet is read alone, because only a page that begins at its
 * very position can show its tag.
 */
export function planTurn(all: readonly CacheSlot[]): { together: Group | null; lagging: Group | null } {
  const ready = all.filter((slot) => slot.isOpen && slot.isDue);
  const verified = ready.filter((slot) => slot.isVerified);
  const foremost = Math.max(...verified.map((slot) => slot.position));
  const near = verified.filter((slot) => slot.position >= foremost - NEAR_POSITIONS);
  const others = ready.filter((slot) => !near.includes(slot));
  const hindmost = lowest(others);
  return {
    together: near.length === 0 ? null : { after: lowest(near), slots: near },
    lagging:
      others.length === 0 ? null : { after: hindmost, slots: others.filter((slot) => slot.position === hindmost) },
  };
}

function lowest(slots: readonly CacheSlot[]): number {
  return Math.min(...slots.map((slot) => slot.position));
}
