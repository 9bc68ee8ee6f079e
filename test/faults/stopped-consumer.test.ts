import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import { ChildProcessGroup } from "../support/child-process-group.ts";
import { eventually } from "../support/eventually.ts";
import { reportFault } from "../support/fault-report.ts";
import { faultRepeats } from "../support/fault-repeats.ts";
import { startDevMongoSystem } from "../support/fault-system.ts";
import { useTestFolder } from "../support/use-test-folder.ts";
import { Workload, workloadEntity } from "../support/workload.ts";

const DEADLINE_MS = 600_000;
const TEST_TIMEOUT_MS = 1_800_000;

/** Connections of the stopped consumer: each stands in the middle of an answer of several MB. */
const CONNECTIONS = 8;

/**
 * What the server may hold above its peak without that consumer. An answer of 10,000 rows is 5 MB of text, of which
 * the sockets of one machine take a part.
 */
const MEBIBYTES_MAX = 200;

const program = fileURLToPath(new URL("../support/consumer-program.ts", import.meta.url));

const folder = useTestFolder("stopped-consumer");
let system: Awaited<ReturnType<typeof startDevMongoSystem>>;
let consumer: ChildProcessGroup | null = null;

beforeAll(async () => {
  system = await startDevMongoSystem({ folder });
});

afterAll(async () => {
  consumer?.signalGroup("SIGKILL");
  await system.dispose();
});

interface PageLine {
  readonly connection: number;
  readonly position?: number;
  readonly first?: number | null;
  readonly isGapless?: boolean;
}

test(
  "fault 21: invariant 10: memory is bounded: a consumer stopped with a backlog costs neither memory nor the others",
  async () => {
    const backlog = faultRepeats({ short: 20_000, full: 1_000_000 });
    const entity = workloadEntity("followed", "followed");
    const workload = new Workload(system.collection("followed"), { seed: 21, bulkSize: 1_000 });
    await workload.write("insert", 10_000);
    await system.create(entity, DEADLINE_MS);
    // What it costs without anybody who is stopped: the same writes, a tenth of them, beside the same questions.
    const calm = await measured(async () => {
      await workload.write("insert", backlog / 10);
      await system.fence(entity, DEADLINE_MS);
    });
    const pid = system.emcache.process.pid;
    const peakBefore = memoryKiB(pid, "VmHWM");

    consumer = new ChildProcessGroup(
      "consumer",
      process.execPath,
      [program, system.emcache.address, "followed", "0", String(CONNECTIONS)],
      { logFile: join(folder, "consumer.log") },
    );
    const running = consumer;
    await eventually(() => pagesOf(running).length > CONNECTIONS, DEADLINE_MS, "the consumer reads");
    running.signal("SIGSTOP");
    const stoppedAt = Math.max(...pagesOf(running).map(({ position }) => position ?? 0));
    resetPeak(pid);
    const beside = await measured(async () => {
      await workload.write("insert", backlog);
      await system.fence(entity, DEADLINE_MS);
    });
    const peak = memoryKiB(pid, "VmHWM");
    console.log(
      `stopped consumer: others' pages took ${calm.p50} ms, p99 ${calm.p99} before; ${beside.p50} ms, p99 ${beside.p99} ` +
        `beside it; resident at most ${peakBefore >> 10} MiB before, ${peak >> 10} beside it`,
    );
    expect(peak - peakBefore).toBeLessThan(MEBIBYTES_MAX * 1_024);

    running.signal("SIGCONT");
    const head = (await system.api.entity("followed")).position ?? 0;
    expect(head - stoppedAt).toBeGreaterThanOrEqual(backlog);
    await eventually(
      () =>
        new Set(pagesOf(running).flatMap((one) => (one.position === head ? [one.connection] : []))).size ===
        CONNECTIONS,
      DEADLINE_MS,
      () => `the consumer is at ${head}; its last pages: ${JSON.stringify(pagesOf(running).slice(-3))}`,
    );
    // Every connection saw each position once, in order.
    for (let connection = 0; connection < CONNECTIONS; connection += 1) {
      const pages = pagesOf(running).filter((page) => page.connection === connection);
      let position = 0;
      for (const page of pages) {
        expect(page.isGapless).toBe(true);
        if (page.first !== null) expect(page.first).toBe(position + 1);
        position = page.position ?? 0;
      }
    }
    await system.expectEqualNow(entity);
    reportFault({
      fault: 21,
      title: "stopped consumer",
      source: "dev-mongo",
      injected: backlog,
      lost: 0,
      skipped: null,
    });
  },
  TEST_TIMEOUT_MS,
);

/** How long another consumer's pages take, in ms, while `work` goes on. */
async function measured(work: () => Promise<void>): Promise<{ p50: number; p99: number }> {
  const times: number[] = [];
  const state = { isWorking: true };
  const working = work().finally(() => (state.isWorking = false));
  let after = (await system.api.entity("followed")).position ?? 0;
  while (state.isWorking) {
    const begin = performance.now();
    const page = await system.api.call<{ position: number }>("GET", `/api/oplogs/followed?limit=100&after=${after}`);
    times.push(performance.now() - begin);
    after = page.position;
  }
  await working;
  const sorted = times.toSorted((a, b) => a - b);
  const at = (share: number): number => Math.round(sorted[Math.floor((sorted.length - 1) * share)] ?? 0);
  return { p50: at(0.5), p99: at(0.99) };
}

/** The pages that the consumer told of; the last line may be half written. */
function pagesOf(process: ChildProcessGroup): PageLine[] {
  return process
    .logs()
    .split("\n")
    .slice(0, -1)
    .flatMap((line) => (line.startsWith("{") ? [JSON.parse(line) as PageLine] : []))
    .filter(({ position }) => position !== undefined);
}

/** A line of /proc/PID/status, in KiB. */
function memoryKiB(pid: number, key: "VmRSS" | "VmHWM"): number {
  const line = new RegExp(`^${key}:\\s+(\\d+) kB`, "m").exec(readFileSync(`/proc/${pid}/status`, "utf8"));
  return Number(line?.[1]);
}

/** Makes the peak begin anew (Linux: proc(5), clear_refs). */
function resetPeak(pid: number): void {
  writeFileSync(`/proc/${pid}/clear_refs`, "5");
}
