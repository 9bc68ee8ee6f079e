import { messageOf } from "../runtime/error-message.ts";
import type { Service } from "../runtime/service.ts";
import { type DemoRow, renderPlain, renderTable } from "./demo-table.ts";
import { TerminalScreen } from "./terminal-screen.ts";

const TERMINAL_INTERVAL_MS = 1_000;
/** What is not looked at by a person should be short. */
const PLAIN_INTERVAL_MS = 5_000;
const TIMEOUT_MS = 5_000;

/** Of `GET /api/entities`, what the table shows. */
interface EntityAnswer {
  readonly name: string;
  readonly state: string;
  readonly percent: number | null;
  readonly rows: number | null;
  readonly lag_ms: number | null;
  readonly applied_entries: number | null;
}

/** Of `GET /health`. */
interface HealthAnswer {
  readonly components: Readonly<
    Record<string, { readonly status: string; readonly reason: string | null; readonly hint: string | null }>
  >;
}

interface ScreenOptions {
  readonly address: () => string | null;
  readonly print: (text: string) => void;
  readonly isTerminal: boolean;
}

/** The demo's live table, read from the API like everything that others see. In a terminal it is redrawn in place. */
export class DemoScreen implements Service {
  readonly name = "screen";
  readonly #options: ScreenOptions;
  readonly #stop = new AbortController();
  readonly #counts = new Map<string, { readonly entries: number; readonly atMs: number }>();
  readonly #screen: TerminalScreen;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: ScreenOptions) {
    this.#options = options;
    this.#screen = new TerminalScreen(options.print);
  }

  async start(): Promise<void> {
    await this.#draw();
    const intervalMs = this.#options.isTerminal ? TERMINAL_INTERVAL_MS : PLAIN_INTERVAL_MS;
    this.#timer = setInterval(() => void this.#draw(), intervalMs);
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    this.#stop.abort();
  }

  async #draw(): Promise<void> {
    let rows: DemoRow[];
    let problems: string[];
    try {
      const [entities, health] = await Promise.all([
        this.#get<EntityAnswer[]>("/api/entities"),
        this.#get<HealthAnswer>("/health"),
      ]);
      rows = entities.map((entity) => this.#rowOf(entity));
      problems = problemsIn(health);
    } catch (error) {
      if (this.#stop.signal.aborted) return;
      rows = [];
      problems = [`the API does not answer: ${messageOf(error)}`];
    }
    if (this.#stop.signal.aborted) return;
    if (this.#options.isTerminal)
      this.#screen.draw([...renderTable(rows), ...problems.map((problem) => `  ! ${problem}`)]);
    else this.#options.print(`${[renderPlain(rows), ...problems].join(" | ")}\n`);
  }

  #rowOf(entity: EntityAnswer): DemoRow {
    const nowMs = performance.now();
    const before = this.#counts.get(entity.name);
    const entries = entity.applied_entries ?? 0;
    this.#counts.set(entity.name, { entries, atMs: nowMs });
    const isKnown = before !== undefined && entries >= before.entries && nowMs > before.atMs;
    return {
      name: entity.name,
      rows: entity.rows,
      lagMs: entity.lag_ms,
      perS: isKnown ? ((entries - before.entries) / (nowMs - before.atMs)) * 1_000 : null,
      state: entity.percent === null ? entity.state : `${entity.state} ${entity.percent.toFixed(0)} %`,
    };
  }

  async #get<T>(path: string): Promise<T> {
    const signal = AbortSignal.any([this.#stop.signal, AbortSignal.timeout(TIMEOUT_MS)]);
    const response = await fetch(`${this.#options.address() ?? ""}${path}`, { signal });
    return (await response.json()) as T;
  }
}

function problemsIn({ components }: HealthAnswer): string[] {
  return Object.entries(components).flatMap(([name, { status, reason, hint }]) =>
    status === "degraded" ? [`${name}: ${reason ?? "degraded"} ${hint ?? ""}`.trimEnd()] : [],
  );
}
