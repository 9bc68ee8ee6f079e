import { BSON_TYPE, bsonTypeName } from "../entity/bson-type.ts";
import type { ExpectedRows } from "./expected-rows.ts";
import { cellText, rowFingerprint } from "./row-fingerprint.ts";
import type { Confirmed } from "./suspect-check.ts";
import type { VerificationContext } from "./verification-context.ts";
import type { DifferenceReason } from "./verify-report.ts";

/** Counts differences, and tells the first of them. */
export class DifferenceTally {
  readonly #context: VerificationContext;
  readonly #expected: ExpectedRows;
  readonly reasons: Record<DifferenceReason, number> = { missing: 0, extra: 0, older: 0, differs: 0 };
  total = 0;
  repaired = 0;

  constructor(context: VerificationContext, expected: ExpectedRows) {
    this.#context = context;
    this.#expected = expected;
  }

  /** @param unrepaired ids of those that a repair left; null: nobody repaired */
  async add(different: readonly Confirmed[], unrepaired: ReadonlySet<string> | null): Promise<void> {
    const { listener, options, entity } = this.#context;
    const listed = different.slice(0, Math.max(0, options.listMax - this.total));
    const older = await this.#olderStates(listed);
    for (const [index, one] of different.entries()) {
      const { docId, idClass, expected, cached } = one;
      const position = older.get(docId) ?? null;
      const reason = reasonOf(one, position);
      const repaired = unrepaired === null ? null : !unrepaired.has(docId);
      this.total++;
      this.reasons[reason]++;
      if (repaired === true) this.repaired++;
      if (index >= listed.length) continue;
      const columns = entity.shape.columns
        .map(({ name }) => name)
        .filter((_, column) => {
          if (expected === null || cached === null) return false;
          return cellText(expected.values[column] ?? null) !== cellText(cached.values[column] ?? null);
        });
      // Where the key is a part of `_id`, the class stands for the whole, which has parts.
      const type = one.documentKey?.[4] ?? (idClass > BSON_TYPE.minKey ? BSON_TYPE.document : idClass);
      const idType = bsonTypeName(type);
      listener.onDifference({ docId, idType, reason, columns, position, repaired });
    }
  }

  /** Positions of the log rows whose states these rows have. Rows beyond the listed ones are not looked for. */
  async #olderStates(listed: readonly Confirmed[]): Promise<Map<string, number>> {
    const positions = new Map<string, number>();
    const stale = new Map(
      listed.flatMap(({ docId, expected, cached }) =>
        expected === null || cached === null ? [] : [[docId, rowFingerprint(cached.values)]],
      ),
    );
    if (stale.size === 0) return positions;
    const { log, entity, signal } = this.#context;
    for (const { docId, position, data } of await log.statesOf(entity.id, [...stale.keys()], signal)) {
      if (positions.has(docId)) continue;
      if (rowFingerprint(this.#expected.valuesOf(data)) === stale.get(docId)) positions.set(docId, position);
    }
    return positions;
  }
}

function reasonOf({ isInSource, cached }: Confirmed, position: number | null): DifferenceReason {
  if (!isInSource) return "extra";
  if (cached === null) return "missing";
  return position === null ? "differs" : "older";
}
