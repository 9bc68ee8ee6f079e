import Database from "better-sqlite3";
import { existsSync, mkdtempSync, rmSync, statSync, statfsSync } from "node:fs";
import { dirname, join } from "node:path";
import { messageOf } from "../runtime/error-message.ts";
import type { DoctorReport } from "./doctor-report.ts";

const MIB = 1024 * 1024;
/** Not enough for a WAL at its limit beside any data. */
const FREE_BYTES_MIN = 64 * MIB;
/** Below it a growing cache is soon at the end. */
const FREE_BYTES_WARN = 1024 * MIB;

/**
 * File systems that span machines, by the number that `statfs` tells (Linux, `man 2 statfs`): SQLite's WAL wants memory
 * that all its users share, so a cache there can be used by one machine alone, and locks are as good as the server's.
 */
const NETWORK_FILE_SYSTEMS: ReadonlyMap<number, string> = new Map([
  [0x6969, "NFS"],
  [0xff534d42, "CIFS"],
  [0xfe534d42, "SMB"],
  [0x01021997, "9p"],
  [0x65735546, "FUSE"],
  [0x0bd00bd0, "Lustre"],
  [0x00c36400, "Ceph"],
]);

/** The directory itself, or the nearest above it that is there. */
export function existingAncestor(path: string): string {
  return existsSync(path) || dirname(path) === path ? path : existingAncestor(dirname(path));
}

/** Checks a directory of ours: whether it can be written, how much room it has, whether SQLite works on it. */
export function checkDirectory(key: string, path: string, report: DoctorReport): void {
  const place = existingAncestor(path);
  const isThere = place === path;
  if (!statSync(place).isDirectory()) {
    report.fail("writable", `${place} is a file, not a directory`, `Remove it, or set ${key} to another path.`);
    return;
  }
  let probe: string;
  try {
    probe = mkdtempSync(join(place, ".emcache-doctor-"));
  } catch (error) {
    report.fail("writable", `${path} can't be written: ${messageOf(error)}`, fixOf(error, key, place));
    return;
  }
  try {
    checkSqlite(key, probe, report);
    const what = isThere ? path : `${path} (the first start makes it in ${place})`;
    if (report.lines.length === 0) report.ok("writable", `${what}, and SQLite's WAL works there`);
  } catch (error) {
    report.fail("writable", `nothing can be written to ${path}: ${messageOf(error)}`, fixOf(error, key, place));
  } finally {
    rmSync(probe, { recursive: true, force: true });
  }
  checkRoom(key, place, report);
}

function fixOf(error: unknown, key: string, place: string): string {
  const code = error instanceof Error && "code" in error ? String(error.code) : "";
  if (/ENOSPC|EDQUOT|SQLITE_FULL/.test(code))
    return `Free space on the disk of ${place}, or set ${key} to another one.`;
  if (code === "EROFS") return `The file system is mounted read-only: mount it for writing, or set ${key} elsewhere.`;
  const user = process.getuid?.();
  return `Give ${place} to the user that runs EMCache${user === undefined ? "" : ` (here user id ${user})`}, or set ${key} elsewhere.`;
}

/** As the caches are used: one connection writes by WAL while another reads. */
function checkSqlite(key: string, folder: string, report: DoctorReport): void {
  const file = join(folder, "probe.db");
  const writer = new Database(file);
  let mode: unknown;
  let count: unknown;
  try {
    mode = writer.pragma("journal_mode = WAL", { simple: true });
    writer.exec("PRAGMA synchronous = FULL; CREATE TABLE probe (id INTEGER PRIMARY KEY); INSERT INTO probe VALUES (1)");
    const reader = new Database(file, { readonly: true });
    try {
      count = reader.prepare("SELECT count(*) FROM probe").pluck().get();
    } finally {
      reader.close();
    }
  } finally {
    writer.close();
  }
  if (mode === "wal" && count === 1) return;
  report.fail(
    "file system",
    `SQLite's WAL does not work in ${dirname(folder)} (journal mode ${String(mode)})`,
    `Set ${key} to a local disk: WAL needs shared memory, which network file systems lack.`,
  );
}

function checkRoom(key: string, place: string, report: DoctorReport): void {
  const { bavail, blocks, bsize, type } = statfsSync(place);
  const free = bavail * bsize;
  const text = `${sizeText(free)} of ${sizeText(blocks * bsize)} free`;
  const fix = `Free space on the disk of ${place}, or set ${key} to another one.`;
  if (free < FREE_BYTES_MIN) report.fail("space", `${text}: caches can't grow`, fix);
  else if (free < FREE_BYTES_WARN) {
    report.warn("space", `${text}: a cache takes what its rows take, twice that while it is copied anew`, fix);
  } else report.ok("space", text);
  const network = NETWORK_FILE_SYSTEMS.get(type);
  if (network === undefined) return;
  report.warn(
    "file system",
    `it is ${network}: SQLite's WAL is only safe where one machine alone uses the files, and locks work`,
    `Set ${key} to a local disk.`,
  );
}

function sizeText(bytes: number): string {
  return bytes < 10 * 1024 * MIB ? `${Math.floor(bytes / MIB)} MiB` : `${(bytes / 1024 / MIB).toFixed(1)} GiB`;
}
