/** What became of the requests of one kind. */
interface Count {
  requests: number;
  /** By the first digit of the status; 0 where the connection was closed without an answer, as bad HTTP deserves. */
  readonly statuses: Map<number, number>;
  slowestMs: number;
  /** Answers that should not be: what was asked, and what came. */
  readonly bad: string[];
}

/** Nothing may take longer: neither the answer nor the end of a connection that sends nothing. */
const HANG_MS = 60_000;

/**
 * Errors by which a server says that it can't do it yet: an entity that a request has just made has no copy, and so no
 * rows, no snapshot and nothing to verify. They are counted beside the server errors, not as such.
 */
const NOT_READY = /"code":"(?:snapshot_not_ready|query_not_ready|verification_not_ready)"/;

/** Counts what hostile requests were answered. */
export class HostileTally {
  readonly #kinds = new Map<string, Count>();

  /** @param status 0: none came, and none had to */
  add(
    kind: string,
    request: string,
    answer: { readonly status: number; readonly body?: string; readonly ms: number },
  ): void {
    const count = this.#of(kind);
    count.requests += 1;
    const isNotReady = answer.status === 503 && NOT_READY.test(answer.body ?? "");
    const digit = isNotReady ? 4 : Math.floor(answer.status / 100);
    count.statuses.set(digit, (count.statuses.get(digit) ?? 0) + 1);
    count.slowestMs = Math.max(count.slowestMs, answer.ms);
    if (digit >= 5 || answer.ms > HANG_MS) {
      count.bad.push(
        `${request.slice(0, 300)}: ${answer.status} after ${Math.round(answer.ms)} ms: ${(answer.body ?? "").slice(0, 300)}`,
      );
    }
  }

  /** Adds requests that another program sent and judged by itself. */
  addJudged(kind: string, requests: number, bad: readonly string[]): void {
    const count = this.#of(kind);
    count.requests += requests;
    count.bad.push(...bad);
  }

  get total(): number {
    return [...this.#kinds.values()].reduce((sum, { requests }) => sum + requests, 0);
  }

  get bad(): string[] {
    return [...this.#kinds].flatMap(([kind, { bad }]) => bad.map((line) => `${kind}: ${line}`));
  }

  /** A table for people, a kind a line. */
  table(): string {
    const lines = [["kind", "requests", "2xx", "3xx", "4xx", "closed", "slowest ms", "bad"]];
    for (const [kind, { requests, statuses, slowestMs, bad }] of this.#kinds) {
      const of = (digit: number): string => String(statuses.get(digit) ?? 0);
      lines.push([kind, String(requests), of(2), of(3), of(4), of(0), slowestMs.toFixed(0), String(bad.length)]);
    }
    const widths = lines[0]?.map((_, column) => Math.max(...lines.map((line) => line[column]?.length ?? 0))) ?? [];
    return lines
      .map((line) =>
        line
          .map((cell, column) => (column === 0 ? cell.padEnd(widths[0] ?? 0) : cell.padStart(widths[column] ?? 0)))
          .join("  "),
      )
      .join("\n");
  }

  #of(kind: string): Count {
    const known = this.#kinds.get(kind);
    if (known !== undefined) return known;
    const count = { requests: 0, statuses: new Map<number, number>(), slowestMs: 0, bad: [] };
    this.#kinds.set(kind, count);
    return count;
  }
}
