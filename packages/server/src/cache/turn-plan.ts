import type { CacheSlot } from "./cache-slot.ts";

/** Caches that take the same page. */
export interface Group {
  /** The page begins after this position; caches that are further on skip what they have. */
  readonly after: number;
  readonly slots: readonly CacheSlot[];
}

/** Positions within which caches share pages: rather than reading twice, some skip rows that they have. */
const NEAR_POSITIONS = 10_000;

/** Who gets a page in one turn. */
export interface TurnPlan {
  /** The caches near the foremost one. */
  readonly together: Group | null;
  /** Of the others those that are furthest behind, at one place. */
  readonly lagging: Group | null;
  /** Whether there are others still, for the next turn. */
  readonly isRest: boolean;
}

/**
 * Plans a turn. A cache whose history was not checked yet is read apart from those that are elsewhere, because only a
 * page that begins at its very position can show its tag.
 */
export function planTurn(all: readonly CacheSlot[]): TurnPlan {
  const ready = all.filter((slot) => slot.isOpen && slot.isDue);
  const foremost = Math.max(...ready.filter((slot) => slot.isVerified).map((slot) => slot.position));
  const isNear = (slot: CacheSlot) => slot.isVerified && slot.position >= foremost - NEAR_POSITIONS;
  const near = ready.filter(isNear);
  const others = ready.filter((slot) => !isNear(slot));
  const lagging = others.length === 0 ? null : groupAt(lowest(others), others);
  return {
    together: near.length === 0 ? null : { after: lowest(near), slots: near },
    lagging,
    isRest: lagging !== null && lagging.slots.length < others.length,
  };
}

function groupAt(position: number, slots: readonly CacheSlot[]): Group {
  return { after: position, slots: slots.filter((slot) => slot.position === position) };
}

function lowest(slots: readonly CacheSlot[]): number {
  return Math.min(...slots.map((slot) => slot.position));
}
