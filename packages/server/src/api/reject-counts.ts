import type { RejectsPort } from "./api-dependencies.ts";

/** Entities are shown without their rejects rather than late, when PostgreSQL is slow or away. */
const COUNT_TIMEOUT_MS = 1000;

/** Number of rejects of each version; null where PostgreSQL does not say in time. */
export async function rejectCounts(
  rejects: RejectsPort,
  versions: number[],
): Promise<ReadonlyMap<number, number> | null> {
  if (versions.length === 0) return new Map();
  const { promise: tooLate, resolve } = Promise.withResolvers<null>();
  const timer = setTimeout(() => resolve(null), COUNT_TIMEOUT_MS);
  try {
    return await Promise.race([rejects.count(versions).catch(() => null), tooLate]);
  } finally {
    clearTimeout(timer);
  }
}
