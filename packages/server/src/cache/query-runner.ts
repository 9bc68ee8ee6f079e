import { type ChildProcess, spawn } from "node:child_process";
import { EmcacheError } from "@emcache/protocol";
import type { Logger } from "../runtime/logger.ts";
import type { Service } from "../runtime/service.ts";
import type { Query, QueryReply } from "./query-message.ts";

/** Queries at a time; more wait. */
const PROCESSES_MAX = 2;
/** Queries that may wait; one more is refused. */
const WAITING_MAX = 32;
/** Memory of such a process, in KiB: Node by itself needs some 600 MiB of what this limit counts. */
const MEMORY_KIB_MAX = 1_048_576;
/** Processor time after which the system ends such a process: one whose parent was killed doesn't work for ever. */
const CPU_S_MAX = 7_200;
/** One that has used so much is replaced, long before that limit. */
const CPU_S_RETIRED = 600;
/** An idle one is ended: most processes are asked nothing. */
const IDLE_MS = 60_000;

/** Beside this file, as source or as built. */
const PROGRAM = import.meta.filename.endsWith(".ts") ? "query-worker.ts" : "query-worker.js";

export interface QueryRunnerOptions {
  readonly timeoutMs: number;
  readonly logger: Logger;
}

interface Runner {
  readonly child: ChildProcess;
  idleTimer: NodeJS.Timeout | null;
}

interface Waiting {
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

/**
 * Runs queries over cache files in processes of their own. A thread would not do: nothing can interrupt a thread that
 * is inside of one step of SQLite (a join of everything with everything), while a process can be killed; and its memory
 * is limited by the operating system.
 */
export class QueryRunner implements Service {
  readonly name = "query-runner";
  readonly #options: QueryRunnerOptions;
  readonly #idle: Runner[] = [];
  readonly #all = new Set<Runner>();
  readonly #waiting: Waiting[] = [];
  #runningCount = 0;
  #isStopped = false;

  constructor(options: QueryRunnerOptions) {
    this.#options = options;
  }

  async start(): Promise<void> {}

  async stop(): Promise<void> {
    this.#isStopped = true;
    for (const { reject } of this.#waiting.splice(0)) reject(stopped());
    const ends = [...this.#all].map(
      ({ child }) =>
        new Promise<void>((resolve) => void (child.exitCode === null ? child.once("exit", resolve) : resolve())),
    );
    for (const runner of this.#all) this.#end(runner);
    await Promise.all(ends);
  }

  /**
   * The JSON of the query's rows.
   *
   * @throws EmcacheError `query_invalid`, `query_too_expensive`, `overloaded`, `cache_unavailable`; the signal's reason
   */
  async run(query: Query, signal: AbortSignal): Promise<string> {
    await this.#takeTurn(signal);
    try {
      signal.throwIfAborted();
      if (this.#isStopped) throw stopped();
      return await this.#ask(query, signal);
    } finally {
      // The turn is handed on; nobody comes between.
      const next = this.#waiting.shift();
      if (next === undefined) this.#runningCount -= 1;
      else next.resolve();
    }
  }

  async #takeTurn(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    if (this.#runningCount >= PROCESSES_MAX) {
      if (this.#waiting.length >= WAITING_MAX) throw new EmcacheError("overloaded", "Too many queries wait already");
      const turn = Promise.withResolvers<void>();
      this.#waiting.push(turn);
      const onAbort = (): void => {
        const index = this.#waiting.indexOf(turn);
        if (index < 0) return;
        this.#waiting.splice(index, 1);
        turn.reject(signal.reason as Error);
      };
      signal.addEventListener("abort", onAbort, { once: true });
      await turn.promise.finally(() => signal.removeEventListener("abort", onAbort));
      return;
    }
    this.#runningCount += 1;
  }

  async #ask(query: Query, signal: AbortSignal): Promise<string> {
    const runner = this.#idle.pop() ?? this.#launch();
    if (runner.idleTimer !== null) clearTimeout(runner.idleTimer);
    const { child } = runner;
    const { timeoutMs } = this.#options;
    const answer = Promise.withResolvers<QueryReply>();
    const onExit = (): void =>
      answer.reject(new EmcacheError("query_too_expensive", "The query needed more than a query may"));
    const onAbort = (): void => answer.reject(signal.reason as Error);
    const timer = setTimeout(() => {
      answer.reject(new EmcacheError("query_too_expensive", `The query was interrupted after ${timeoutMs / 1000} s`));
    }, timeoutMs);
    child.once("message", answer.resolve).once("exit", onExit).once("error", answer.reject);
    signal.addEventListener("abort", onAbort, { once: true });
    try {
      child.send(query, (error) => {
        if (error !== null) answer.reject(new EmcacheError("internal", "The query was not taken", { cause: error }));
      });
      const reply = await answer.promise;
      this.#release(runner, reply.cpuS);
      if ("json" in reply) return reply.json;
      throw new EmcacheError(reply.error.code, reply.error.message);
    } catch (error) {
      if (!this.#idle.includes(runner)) this.#end(runner);
      throw error;
    } finally {
      clearTimeout(timer);
      signal.removeEventListener("abort", onAbort);
      child.off("message", answer.resolve).off("exit", onExit).off("error", answer.reject);
    }
  }

  #launch(): Runner {
    // The environment holds secrets: none of it is needed there.
    const env = { PATH: process.env["PATH"] ?? "" };
    const program = [
      process.execPath,
      "--max-old-space-size=128",
      "--v8-pool-size=1",
      `${import.meta.dirname}/${PROGRAM}`,
    ];
    const stdio = ["ignore", "ignore", "ignore", "ipc"] as const;
    const limits = `ulimit -d ${MEMORY_KIB_MAX}; ulimit -t ${CPU_S_MAX}; ulimit -c 0; exec "$0" "$@"`;
    const child =
      process.platform === "win32"
        ? spawn(program[0] ?? "", program.slice(1), { env, stdio: [...stdio] })
        : spawn("/bin/sh", ["-c", limits, ...program], { env, stdio: [...stdio] });
    const runner: Runner = { child, idleTimer: null };
    this.#all.add(runner);
    child.on("error", (error) =>
      this.#options.logger.warn({ event: "query_process_failed", err: error }, error.message),
    );
    child.once("exit", () => this.#forget(runner));
    return runner;
  }

  #release(runner: Runner, cpuS: number): void {
    if (cpuS > CPU_S_RETIRED || this.#isStopped) return this.#end(runner);
    runner.idleTimer = setTimeout(() => this.#end(runner), IDLE_MS);
    runner.idleTimer.unref();
    this.#idle.push(runner);
  }

  #end(runner: Runner): void {
    this.#forget(runner);
    runner.child.kill("SIGKILL");
  }

  #forget(runner: Runner): void {
    if (runner.idleTimer !== null) clearTimeout(runner.idleTimer);
    this.#all.delete(runner);
    const index = this.#idle.indexOf(runner);
    if (index >= 0) this.#idle.splice(index, 1);
  }
}

function stopped(): EmcacheError {
  return new EmcacheError("overloaded", "The server stops");
}
