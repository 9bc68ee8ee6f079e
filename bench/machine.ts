import { readFileSync } from "node:fs";
import { cpus, loadavg, totalmem } from "node:os";
import type { EmcacheProcess } from "../test/support/emcache-process.ts";
import type { Measurement } from "./print-table.ts";

const GIBIBYTE = 2 ** 30;

/** What it ran on; a busy machine shows in its load. */
export function machine(): Measurement[] {
  const all = cpus();
  const load = loadavg()[0]?.toFixed(1) ?? "?";
  return [
    {
      what: "machine",
      value: `${all.length} CPUs, ${Math.round(totalmem() / GIBIBYTE)} GiB`,
      beside: `${all[0]?.model.trim() ?? "unknown CPU"}; Node ${process.version}; load ${load}`,
    },
  ];
}

/** CPU time that a process has used, user and system, in ms: what it needs is seen also on a busy machine. */
export function cpuMs(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8")
    .replace(/^.*\) /s, "")
    .split(" ");
  // Fields 14 and 15 of proc(5), in ticks of 10 ms.
  return (Number(fields[11]) + Number(fields[12])) * 10;
}

/** CPU time of the process for each of so many documents. */
export function cpuText(usedMs: number, documents: number): string {
  return `${((usedMs * 1_000) / documents).toFixed(1)} µs of CPU each`;
}

/** Peak resident memory of the process, and of the PostgreSQL that it runs. */
export function memoryPeaks(emcache: EmcacheProcess): Measurement[] {
  const own = statusKiB(emcache.process.pid, "VmHWM");
  // Shared buffers are counted once (proportional set size), not in each backend.
  const postgres = emcache.embeddedPostgresPids().reduce((sum, pid) => sum + proportionalKiB(pid), 0);
  return [
    {
      what: "peak memory of emcache (VmHWM)",
      value: mebibytes(own),
      beside: postgres === 0 ? "PostgreSQL is not its own" : `its PostgreSQL holds ${mebibytes(postgres)} now`,
    },
  ];
}

function statusKiB(pid: number, key: string): number {
  return lineKiB(`/proc/${pid}/status`, key);
}

function proportionalKiB(pid: number): number {
  try {
    return lineKiB(`/proc/${pid}/smaps_rollup`, "Pss");
  } catch {
    return 0;
  }
}

function lineKiB(file: string, key: string): number {
  return Number(new RegExp(`^${key}:\\s+(\\d+) kB`, "m").exec(readFileSync(file, "utf8"))?.[1] ?? 0);
}

function mebibytes(kib: number): string {
  return `${Math.round(kib / 1_024)} MiB`;
}
