import {
  closeSync,
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readlinkSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import Database from "better-sqlite3";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { eventually } from "../support/eventually.ts";
import { reportFault } from "../support/fault-report.ts";
import { TestSystem } from "../support/test-system.ts";
import { useTestFolder } from "../support/use-test-folder.ts";
import { Workload, workloadEntity } from "../support/workload.ts";

const DEADLINE_MS = 60_000;
const PAGE_BYTES = 4096;

/** Files that are set aside of one version, and their checksums and WAL beside each. */
const ASIDE_FILES_MAX = 2 * 4;

const folder = useTestFolder("damaged-cache");
const entity = workloadEntity("damaged", "damaged");
let system: TestSystem;
let injected = 0;
let hasFailed = false;

beforeAll(async () => {
  system = await TestSystem.start({ folder, settings: { "snapshot.min_lag": 1_000_000_000 } });
  await new Workload(system.collection("damaged"), { seed: 19 }).write("insert", 3_000);
  await system.create(entity);
  await system.expectEqual(entity);
});

afterEach(({ task }) => {
  hasFailed ||= task.result?.state === "fail";
});

afterAll(async () => {
  await system.dispose();
  if (hasFailed) return;
  reportFault({
    fault: 19,
    title: "Damaged cache files",
    source: "SecantusDB",
    injected,
    lost: 0,
    skipped: null,
  });
});

function cachePath(): string {
  return join(system.emcache.cacheFolder, readlinkSync(system.cacheFile("damaged")));
}

/** Sets one bit of the byte at an offset. */
function flip(path: string, offset: number): void {
  const file = openSync(path, "r+");
  const byte = Buffer.alloc(1);
  readSync(file, byte, 0, 1, offset);
  byte.writeUInt8(byte.readUInt8() ^ 0x10);
  writeSync(file, byte, 0, 1, offset);
  closeSync(file);
}

function sql(path: string, text: string): void {
  const database = new Database(path);
  database.exec(text);
  database.close();
}

/** Offset in the middle of the page that is the root of a table or an index. */
function rootOf(path: string, name: string): number {
  const database = new Database(path, { readonly: true });
  const root = database.prepare("SELECT rootpage FROM sqlite_schema WHERE name = ?").pluck().get(name);
  database.close();
  return (Number(root) - 1) * PAGE_BYTES + PAGE_BYTES / 2;
}

/** Offset of a byte in the middle of a row's text: nothing that SQLite checks. */
function offsetOfText(path: string): number {
  const file = openSync(path, "r");
  const bytes = Buffer.alloc(statSync(path).size);
  readSync(file, bytes, 0, bytes.length, 0);
  closeSync(file);
  const offset = bytes.indexOf("@", Math.floor(bytes.length / 2));
  expect(offset).toBeGreaterThan(0);
  return offset + 2;
}

function asides(): string[] {
  return readdirSync(system.emcache.cacheFolder).filter((name) => name.includes(".damaged-"));
}

/** What whoever opens the entity's link reads: every value of every row, or null where there is no link. */
function readLink(): string | null {
  const link = system.cacheFile("damaged");
  if (!existsSync(link)) return null;
  let database: Database.Database;
  try {
    database = new Database(link, { readonly: true, fileMustExist: true });
  } catch (error) {
    // The link went between the look and the opening.
    if (error instanceof Database.SqliteError && error.code === "SQLITE_CANTOPEN") return null;
    throw error;
  }
  try {
    return JSON.stringify(database.prepare("SELECT * FROM damaged ORDER BY id").raw().all());
  } finally {
    database.close();
  }
}

/** Reads by the link until the file was replaced; each time there must be what is right, or nothing. */
async function expectRebuilt(right: readonly string[], asideBefore: readonly string[]): Promise<string> {
  const aside = await eventually(
    () => {
      const shown = readLink();
      const isWrong = shown !== null && !right.includes(shown);
      const found = asides().find((name) => /\.damaged-[^-]+-[\w-]+$/.test(name) && !asideBefore.includes(name));
      // A file that is changed while it is open may be read until that is found.
      if (isWrong && found !== undefined) throw new Error("the link led to a wrong table after it was known");
      return isWrong ? null : found;
    },
    DEADLINE_MS,
    () => `the damaged file is set aside; ${asides().join(", ")}; ${JSON.stringify(system.emcache.logLines().at(-1))}`,
  );
  await eventually(
    () => {
      const shown = readLink();
      if (shown !== null) expect(right).toContain(shown);
      return shown !== null;
    },
    DEADLINE_MS,
    "it is there again",
  );
  return aside;
}

/** Backups of the file of then, each whole. */
function backUp(): string {
  const target = join(folder, `backup-${injected}`);
  mkdirSync(target);
  for (const suffix of ["", "-wal", "-sums"]) {
    if (existsSync(cachePath() + suffix)) cpSync(cachePath() + suffix, join(target, `cache${suffix}`));
  }
  return join(target, "cache");
}

describe("while EMCache is stopped", () => {
  /** What is done to the file, and a part of the name under which it is set aside. */
  const damages: readonly (readonly [string, string, (path: string) => void])[] = [
    ["truncated", "(truncated|sqlite-)", (path) => truncateSync(path, Math.floor(statSync(path).size / 2))],
    ["cut to nothing but its header", "(truncated|sqlite-)", (path) => truncateSync(path, PAGE_BYTES)],
    ["a byte of the header flipped", "", (path) => flip(path, 18)],
    ["a byte of a data page flipped", "page-checksum", (path) => flip(path, offsetOfText(path))],
    ["a byte in the middle of an index flipped", "page-checksum", (path) => flip(path, rootOf(path, "email_idx"))],
    ["its schema changed by hand", "page-checksum", (path) => sql(path, "DROP INDEX email_idx")],
    ["a row of metadata removed", "page-checksum", (path) => sql(path, "DELETE FROM metadata WHERE key = 'tag'")],
    ["a value changed by SQL", "page-checksum", (path) => sql(path, "UPDATE data SET age = age + 1 WHERE id = '1'")],
  ];

  test.each(damages)(
    "fault 19: a cache file is %s: found, set aside, rebuilt, never read wrong",
    async (_, why, damage) => {
      const right = readLink() ?? "";
      await system.emcache.stop();
      const path = cachePath();
      const before = asides();
      damage(path);
      injected += 1;
      const restarted = system.emcache.restart();
      const aside = await expectRebuiltAfterStart(right, before);
      await restarted;
      expect(aside).toMatch(new RegExp(`\\.v\\d+\\.db\\.damaged-\\d{8}T\\d{6}Z-${why}`));
      await system.expectEqual(entity, DEADLINE_MS);
      expect(asides().length).toBeLessThanOrEqual(ASIDE_FILES_MAX);
    },
  );

  /** Until the process is up it can't know; from then on the link never leads to a wrong table. */
  async function expectRebuiltAfterStart(right: string, before: readonly string[]): Promise<string> {
    const aside = await eventually(
      () => asides().find((name) => /\.damaged-[^-]+-[\w-]+$/.test(name) && !before.includes(name)),
      DEADLINE_MS,
      () => `the damaged file is set aside; ${system.emcache.logs().slice(-500)}`,
    );
    return aside === "" ? "" : expectRebuilt([right], before).then(() => aside);
  }

  test("fault 19: an older copy is put in a cache file's place: found, set aside, rebuilt", async () => {
    await system.emcache.stop();
    const older = backUp();
    await system.emcache.restart();
    await new Workload(system.collection("damaged"), { seed: 20, firstId: 100_000 }).write("insert", 500);
    await system.expectEqual(entity);
    const right = readLink() ?? "";
    await system.emcache.stop();
    const before = asides();
    copyFileSync(older, cachePath());
    injected += 1;
    await system.emcache.restart();
    expect(await expectRebuilt([right], before)).toContain("page-checksum");
    await system.expectEqual(entity, DEADLINE_MS);
  });

  test("fault 19: the WAL of a killed process is removed: an older whole state, and on from there", async () => {
    // After a clean stop all is in the file itself.
    await system.emcache.stop();
    await system.emcache.restart();
    const whole = readLink() ?? "";
    await new Workload(system.collection("damaged"), { seed: 21, firstId: 200_000 }).write("insert", 500);
    await system.expectEqual(entity);
    await system.emcache.killGroup();
    const wal = `${cachePath()}-wal`;
    expect(statSync(wal).size).toBeGreaterThan(0);
    rmSync(wal);
    rmSync(`${cachePath()}-shm`, { force: true });
    injected += 1;
    expect(readLink()).toBe(whole);
    await system.emcache.restart();
    await system.expectEqual(entity, DEADLINE_MS);
    await system.expectLinearHistory("damaged");
  });

  test("fault 19: an older copy lies under the WAL of a killed process: found, set aside, rebuilt", async () => {
    await system.emcache.stop();
    const older = backUp();
    await system.emcache.restart();
    await new Workload(system.collection("damaged"), { seed: 22, firstId: 300_000 }).write("insert", 500);
    await system.expectEqual(entity);
    await system.emcache.stop();
    await system.emcache.restart();
    await new Workload(system.collection("damaged"), { seed: 23, firstId: 400_000 }).write("insert", 20);
    await system.expectEqual(entity);
    const right = readLink() ?? "";
    await system.emcache.killGroup();
    const before = asides();
    copyFileSync(older, cachePath());
    injected += 1;
    const restarted = system.emcache.restart();
    const aside = await eventually(
      () => asides().find((name) => !before.includes(name)),
      DEADLINE_MS,
      "the file is set aside",
    );
    await restarted;
    expect(aside).toContain(".damaged-");
    await expectRebuilt([right], before);
    await system.expectEqual(entity, DEADLINE_MS);
  });
});

describe("while EMCache runs", () => {
  const damages: readonly (readonly [string, (path: string) => void])[] = [
    ["overwritten in one byte", (path) => flip(path, offsetOfText(path))],
    ["truncated", (path) => truncateSync(path, statSync(path).size - 8 * PAGE_BYTES)],
    ["removed", (path) => rmSync(path)],
    ["without its WAL", (path) => rmSync(`${path}-wal`)],
    ["changed by SQL", (path) => sql(path, "DELETE FROM data WHERE id = '2'")],
    ["given another schema", (path) => sql(path, "ALTER TABLE data ADD COLUMN more")],
    ["robbed of its metadata", (path) => sql(path, "DELETE FROM metadata WHERE key = 'max_oplog_id'")],
    [
      "replaced by a copy",
      (path) => {
        copyFileSync(path, `${path}.copy`);
        renameSync(`${path}.copy`, path);
      },
    ],
  ];

  test.each(damages)("fault 19: a cache file is %s: found, rebuilt", async (_, damage) => {
    // A clean start has everything in the file and an empty WAL; a fence then makes one.
    await system.emcache.stop();
    await system.emcache.restart();
    await system.expectEqual(entity, DEADLINE_MS);
    const right = readLink() ?? "";
    const path = cachePath();
    const before = statSync(path);
    damage(path);
    injected += 1;
    await eventually(
      () => {
        const now = statSync(path, { throwIfNoEntry: false });
        // A number may be given again to the next file.
        if (now === undefined || (now.ino === before.ino && now.birthtimeMs === before.birthtimeMs)) return false;
        const shown = readLink();
        if (shown !== null) expect(shown).toBe(right);
        return shown !== null;
      },
      DEADLINE_MS,
      () => `another file is there; ${system.emcache.logs().slice(-800)}`,
    );
    await system.expectEqual(entity, DEADLINE_MS);
    expect(asides().length).toBeLessThanOrEqual(ASIDE_FILES_MAX);
  });
});
