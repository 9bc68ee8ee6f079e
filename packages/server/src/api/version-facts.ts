import type { CopiesPort, CopyCondition, RejectsPort } from "./api-dependencies.ts";

/** Entities are shown without these facts rather than late, when PostgreSQL is slow or away. */
const TIMEOUT_MS = 1000;

/** What only PostgreSQL knows of entity versions; null where it does not say in time. */
export interface VersionFacts {
  /** Number of rejects of each version. */
  readonly rejects: ReadonlyMap<number, number> | null;
  readonly copies: ReadonlyMap<number, CopyCondition> | null;
}

export async function versionFacts(
  { rejects, copies }: { readonly rejects: RejectsPort; readonly copies: CopiesPort },
  versions: number[],
): Promise<VersionFacts> {
  if (versions.length === 0) return { rejects: new Map(), copies: new Map() };
  const { promise: tooLate, resolve } = Promise.withResolvers<null>();
  const timer = setTimeout(() => resolve(null), TIMEOUT_MS);
  const inTime = <T>(asked: Promise<T>): Promise<T | null> => Promise.race([asked.catch(() => null), tooLate]);
  try {
    const [counted, conditions] = await Promise.all([
      inTime(rejects.count(versions)),
      inTime(copies.conditions(versions)),
    ]);
    return { rejects: counted, copies: conditions };
  } finally {
    clearTimeout(timer);
  }
}
