import { cpSync, existsSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { readCacheState } from "@emcache/cache-file";
import type { Entity } from "@emcache/protocol";
import Database from "better-sqlite3";
import { MemoryOplog } from "../../packages/server/src/oplog/testing/memory-oplog.ts";
import { createLogger } from "../../packages/server/src/runtime/logger.ts";
import { compareCache, expectedOf } from "../support/oracle.ts";
import { LogOracle, revisionOf, violate } from "./log-oracle.ts";
import { type CommandFault, ModelServer } from "./model-server.ts";
import { LogFaults } from "./model-log-network.ts";
import type { Operation, Scenario } from "./scenario.ts";
import { Scheduler } from "./scheduler.ts";
import { SimLease } from "./sim-lease.ts";
import { SimProcess } from "./sim-process.ts";
import { SimRegistry } from "./sim-registry.ts";
import { SourceModel } from "./source-model.ts";

/** Steps within which everything has caught up once nothing goes wrong any more. */
const SETTLE_STEPS_MAX = 8_000;

/** Steps over which it has to stay so: what is still on its way may look like the end for a moment. */
const QUIET_STEPS = 160;

/** Steps between two looks. */
const LOOK_STEPS = 20;

/** In memory where there is such a place: a run makes files that nobody keeps. */
const FOLDER = existsSync("/dev/shm") ? "/dev/shm" : tmpdir();

/**
 * One run: a source, a log and up to two processes, whose every step a seeded scheduler decides, while the scenario's
 * operations happen. Throws what no run may show.
 */
export class Simulation {
  readonly scheduler: Scheduler;
  readonly #scenario: Scenario;
  readonly #model = new SourceModel();
  readonly #server: ModelServer;
  readonly #oplog = new MemoryOplog("sim");
  readonly #oracle: LogOracle;
  readonly #registry: SimRegistry;
  readonly #lease: SimLease;
  readonly #logFaults = new LogFaults();
  #sourceFaults: { readonly command: string; readonly fault: CommandFault }[] = [];
  readonly #folder: string;
  readonly #processes: SimProcess[] = [];
  #processCount = 0;

  constructor(scenario: Scenario) {
    this.#scenario = scenario;
    this.scheduler = new Scheduler(scenario.schedule, scenario.earlyTimers);
    this.#server = new ModelServer(this.#model, this.scheduler, scenario.traits);
    this.#oracle = new LogOracle(this.#model, this.#oplog);
    this.#oplog.pageRowsMax = scenario.pageRowsMax;
    this.#registry = new SimRegistry(this.#oplog, this.scheduler, ({ id, source }) =>
      this.#oracle.addVersion(id, source),
    );
    this.#lease = new SimLease(this.scheduler, this.#registry);
    this.#folder = mkdtempSync(join(FOLDER, "emcache-simulation-"));
  }

  /** Everything from the start to the comparison of what is left. */
  async run(): Promise<void> {
    const { random } = Math;
    // The code's jitter.
    Math.random = () => this.scheduler.random.next();
    try {
      this.#model.write(this.#scenario.initial);
      this.#registry.addVersion(0);
      this.#registry.addVersion(1);
      for (let number = 0; number < this.#scenario.processes; number++) this.#start(null);
      for (const operation of this.#scenario.operations) {
        await this.#steps(operation.gap);
        this.scheduler.note(`== ${JSON.stringify(operation)}`);
        this.#apply(operation);
      }
      await this.#settle();
      await this.#compare();
    } finally {
      for (const process of this.#processes) {
        process.kill();
        process.reap();
      }
      await new Promise((resolve) => {
        setImmediate(resolve);
      });
      Math.random = random;
      rmSync(this.#folder, { recursive: true, force: true });
    }
  }

  /** How much happened. */
  get rowCount(): number {
    return this.#oracle.rowCount;
  }

  async #steps(count: number): Promise<void> {
    for (let step = 0; step < count; step++) {
      await this.scheduler.step();
      if (this.#oracle.violation !== null) throw this.#oracle.violation;
    }
  }

  #apply(operation: Operation): void {
    switch (operation.kind) {
      case "write":
        this.#model.write(operation.writes, operation.isTransaction);
        break;
      case "drop":
        this.#model.drop("a");
        break;
      case "rename":
        this.#model.rename(operation.toCollection === "a" ? "b" : "a", operation.toCollection);
        break;
      case "drop_database":
        this.#model.dropDatabase();
        break;
      case "lose_history":
        this.#model.loseHistory();
        break;
      case "step_down":
        this.#server.stepDown();
        break;
      case "source_fault":
        this.#sourceFaults.push(operation);
        break;
      case "log_fault":
        this.#logFaults.add(operation.what, operation.fault);
        break;
      case "crash":
        this.#crash(operation.process % this.#processes.length, operation.losesCaches);
        break;
      case "take_over":
        this.#lease.takeOver();
        break;
      case "freeze":
        if (this.#processes[1] !== undefined) this.#processes[1].party.isFrozen = true;
        break;
      case "thaw":
        this.#thaw();
        break;
      case "request_copy":
        for (const { entity } of this.#registry.records().slice(operation.entity, operation.entity + 1)) {
          this.#registry.requestCopy(entity.id);
        }
        break;
      case "new_version":
        this.#registry.addVersion(operation.entity);
        break;
      case "retention":
        this.#oplog.dropBelow(Math.max(0, this.#oplog.position - operation.keep));
        break;
      case "time":
        this.scheduler.nowMs += operation.ms;
        this.#model.noop();
    }
  }

  #thaw(): void {
    for (const { party } of this.#processes) party.isFrozen = false;
  }

  #start(before: SimProcess | null): void {
    const name = `process ${(this.#processCount += 1)}`;
    const cacheDir = join(this.#folder, name.replace(" ", "-"));
    if (before === null) mkdirSync(cacheDir);
    else cpSync(before.cacheDir, cacheDir, { recursive: true, verbatimSymlinks: true });
    const process = new SimProcess({
      name,
      cacheDir,
      server: this.#server,
      model: this.#model,
      scheduler: this.scheduler,
      traits: this.#scenario.traits,
      takeFault: (command) => this.#takeSourceFault(command),
      registry: this.#registry,
      lease: this.#lease,
      logFaults: this.#logFaults,
      copiesMax: this.#scenario.copiesMax,
      logger: createLogger({
        level: "warn",
        destination: { write: (line) => this.scheduler.note(`${name}: ${line.trim()}`) },
      }),
      onCommit: (from, head) => this.#notify(from, head),
    });
    this.#processes.push(process);
    process.start();
  }

  /** SIGKILL, and a new process in its place, with what is on the disk. */
  #crash(index: number, losesCaches: boolean): void {
    const [killed] = this.#processes.splice(index, 1);
    if (killed === undefined) return;
    killed.kill();
    this.#lease.holderDied();
    this.#start(losesCaches ? null : killed);
    // Only now, so that the copy is of what the dead process left.
    this.#checkCaches(killed.cacheDir);
    killed.reap();
  }

  /** The other processes hear of a commit, or not: a signal may be lost. */
  #notify(from: SimProcess, head: number): void {
    for (const process of this.#processes) {
      if (process === from || this.scheduler.random.next() < 0.3) continue;
      this.scheduler.add("a notification arrives", process.party, () => process.wake(head));
    }
  }

  #takeSourceFault(command: string): CommandFault | null {
    const index = this.#sourceFaults.findIndex((fault) => fault.command === command);
    return index < 0 ? null : (this.#sourceFaults.splice(index, 1)[0]?.fault ?? null);
  }

  /** Nothing goes wrong any more: everything has to catch up. */
  async #settle(): Promise<void> {
    this.#thaw();
    this.#sourceFaults = [];
    this.#logFaults.clear();
    let reason: string | null = "it has not begun";
    let quietSteps = 0;
    for (let steps = 0; quietSteps < QUIET_STEPS && steps < SETTLE_STEPS_MAX; steps += LOOK_STEPS) {
      await this.#steps(LOOK_STEPS);
      reason = this.#unfinished();
      quietSteps = reason === null ? quietSteps + LOOK_STEPS : 0;
    }
    if (reason !== null) violate(`after ${SETTLE_STEPS_MAX} steps in which nothing went wrong: ${reason}`);
  }

  /** What has not caught up yet. */
  #unfinished(): string | null {
    for (const { entity, state } of this.#registry.records()) {
      const what = `version ${entity.id} (${entity.name})`;
      if (state !== "live") return `${what} is ${state}`;
      if (this.#oplog.copies.get(entity.id)?.copy.state !== "done") return `${what} is being copied`;
      const difference = this.#differenceOfLog(entity);
      if (difference !== null) return difference;
      for (const { party, statuses } of this.#processes) {
        const status = statuses.find(({ version }) => version === entity.id);
        const isThere = status?.mode === "live" && status.dataState === "whole" && status.lastError === null;
        if (isThere && status.position === this.#oplog.position) continue;
        return `${party.name}'s cache of ${what} is at ${status?.position} of ${this.#oplog.position}, ${status?.mode}, ${status?.dataState}, ${status?.lastError?.detail}`;
      }
    }
    const isAsked = this.#registry.records().some(({ entity }) => this.#oplog.copyRequests.has(entity.id));
    return isAsked ? "a copy was asked for and not made" : null;
  }

  #differenceOfLog({ id, source }: Entity): string | null {
    const table = this.#oracle.table(id) ?? new Map<string, string>();
    const documents = this.#model.read(
      source,
      undefined,
      { isInclusive: true, limit: Infinity },
      () => this.#model.time,
    );
    const wanted = new Map(documents.map(({ id: docId, bytes }) => [String(docId), bytes]));
    for (const docId of table.keys()) if (!wanted.has(docId)) return `version ${id} keeps ${docId}, which is gone`;
    for (const [docId, bytes] of wanted) {
      const data = table.get(docId);
      if (data === undefined) return `version ${id} misses ${docId}`;
      const revision = (JSON.parse(data) as number[])[0];
      if (revision !== revisionOf(bytes)) return `version ${id} shows ${docId} as of write ${revision}`;
    }
    return null;
  }

  /** The caches of the end, cell by cell, with code that shares nothing with the pipeline. */
  async #compare(): Promise<void> {
    for (const { cacheDir, party } of this.#processes) {
      this.#checkCaches(cacheDir);
      for (const { entity } of this.#registry.records()) {
        const expected = await expectedOf(this.#model.documents(entity.source), entity);
        const { isEqual, report } = compareCache(join(cacheDir, `${entity.name}.db`), entity, expected);
        if (!isEqual) violate(`${party.name}: ${report}`);
        this.#requireRejects(entity, expected.rejects);
      }
    }
  }

  /** Each value that does not fit now was told; what was told before may have been mended since. */
  #requireRejects({ id }: Entity, expected: number): void {
    const told = this.#oplog.rejects.get(id)?.size ?? 0;
    if (told < expected) violate(`version ${id}: ${expected} values are refused, ${told} rejects were told`);
  }

  /** Every cache that is whole shows what the log says at its position. */
  #checkCaches(cacheDir: string): void {
    for (const entity of this.#registry.entities.values()) {
      const path = join(cacheDir, `${entity.name}.v${entity.id}.db`);
      if (!existsSync(path)) continue;
      const { dataState, point } = readCacheState(path).state;
      if (dataState !== "whole") continue;
      const table = this.#oracle.tableAt(entity.id, point.position);
      const database = new Database(path, { readonly: true });
      try {
        const rows = database.prepare<[], { id: string; rev: number }>("SELECT id, rev FROM data").all();
        const shown = rows.map(({ id, rev }) => `${id}=${rev}`).toSorted();
        const wanted = [...(table ?? [])].map(([id, data]) => `${id}=${(JSON.parse(data) as number[])[0]}`).toSorted();
        if (shown.join() !== wanted.join()) {
          violate(`the cache ${path} at ${point.position} shows ${shown.join()}, the log ${wanted.join()}`);
        }
      } finally {
        database.close();
      }
    }
  }
}
