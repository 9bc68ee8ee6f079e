import { CacheFile, readCacheState, type CacheRow, type LogPoint } from "@emcache/cache-file";
import { EmcacheError, type Entity } from "@emcache/protocol";
import { Backoff } from "./backoff.ts";
import type { CacheFolder } from "./cache-folder.ts";
import type { DownloadedSnapshot } from "./download-snapshot.ts";
import type { EntityStatus, FollowReport, ShownError } from "./follow-report.ts";
import { isFollowing, needsSnapshot, nextFollowState, type FollowEvent, type FollowState } from "./follow-state.ts";
import { RowChanges } from "./row-changes.ts";

/** Where an answer ends, and whether the log goes on after it. */
export interface AppliedPage {
  readonly rows: readonly CacheRow[];
  readonly upTo: LogPoint;
  readonly head: number;
  readonly hasMore: boolean;
}

/** How long a replaced file stays, for readers that have just looked up its name, in ms. */
const REPLACED_KEPT_MS = 60_000;

/** One entity: its file, and how it stands. Its one writer. */
export class FollowedEntity {
  readonly name: string;
  readonly backoff = new Backoff();
  readonly #folder: CacheFolder;
  readonly #report: FollowReport;
  #state: FollowState = "opening";
  #file: CacheFile | null = null;
  #error: ShownError | null = null;
  #changes: RowChanges | null = null;
  #isWatched = false;
  #head = 0;
  #resets = 0;
  #rejects = 0;
  #heardAtMs: number | null = null;
  #pausedUntilMs = 0;
  /** Whether what a new file changed is still being told: nothing newer may be told before. */
  #isTelling = false;
  #replaced: { readonly path: string; readonly atMs: number }[] = [];

  constructor(name: string, folder: CacheFolder, report: FollowReport) {
    this.name = name;
    this.#folder = folder;
    this.#report = report;
    // Throws for what is no name.
    folder.linkPath(name);
  }

  get state(): FollowState {
    return this.#state;
  }

  get version(): number {
    return this.#opened.version;
  }

  get logId(): string {
    return this.#opened.logId;
  }

  /** How far rows were applied; the next page is read from here. */
  get point(): LogPoint {
    return this.#opened.appliedPoint;
  }

  /** Whether the log is to be followed for it now. */
  get isFollowing(): boolean {
    if (this.#file === null || this.#isTelling) return false;
    return isFollowing(this.#state) && performance.now() >= this.#pausedUntilMs;
  }

  /** Whether a snapshot of it is to be fetched now. */
  get needsSnapshot(): boolean {
    return needsSnapshot(this.#state) && this.pausedMs === 0;
  }

  /** Something happened to it. With an error, that is what `status()` shows until it is well again. */
  happened(event: FollowEvent, error: unknown = null): void {
    const before = this.#state;
    this.#state = nextFollowState(before, event);
    // One that is reset again and again waits longer each time, until a page is applied.
    if (this.#state === "resetting" && before !== "resetting") this.pause(this.backoff.nextMs() / 2);
    if (error !== null) this.#error = shownError(error);
    else if (this.#state === "live" || event === "snapshot_ready") this.#error = null;
    this.#report.status(this.status());
  }

  /** Shows an error of something that is tried again. */
  failed(error: unknown): void {
    this.#error = shownError(error);
    this.#report.status(this.status());
  }

  /** Leaves it out of the following for a while. */
  pause(ms: number): void {
    this.#pausedUntilMs = performance.now() + ms;
  }

  /** How long until it is followed again, in ms. */
  get pausedMs(): number {
    return Math.max(0, this.#pausedUntilMs - performance.now());
  }

  /** Opens the file that its name leads to. Throws `cache_unavailable`. */
  open(): void {
    this.#folder.tidy(this.name);
    const path = this.#folder.servedPath(this.name);
    if (path === null) return this.happened("no_file");
    try {
      const { entity, logId, state } = readCacheState(path);
      if (entity.name !== this.name) throw wrongFile(path, `it is of the entity ${entity.name}`);
      if (state.dataState === "empty") throw wrongFile(path, "it has no complete copy");
      this.#file = CacheFile.open(path, { entity, logId });
      this.#watchFile();
      this.happened("file_found");
    } catch (error) {
      this.#damaged(path, error);
    }
  }

  /**
   * Applies an answer's rows. Throws nothing of the file: what is damaged is set aside, what can't be written is tried
   * again.
   */
  async apply(page: AppliedPage): Promise<void> {
    const file = this.#opened;
    const changes = this.#changes;
    this.#heardAtMs = Date.now();
    this.#head = page.head;
    try {
      changes?.beforePage(page.rows);
      const before = file.position;
      const result = file.apply(page.rows, page.upTo);
      this.#rejects += result.rejects.length;
      this.backoff.reset();
      if (result.copyMissed) return this.happened("position_refused", missedCopy(this.name));
      this.happened(page.hasMore ? "fell_behind" : "caught_up");
      if (page.rows.length > 0 && file.position !== before) this.#report.rowsChanged(this.name);
      for (const some of changes?.afterPage(file, result) ?? []) await this.#report.changes(this.name, some);
    } catch (error) {
      this.#failedFile(error);
    }
  }

  /** Lets a fetched file take the place of the one that is served, if any. Throws what the opening throws. */
  async take(snapshot: DownloadedSnapshot, entity: Entity): Promise<void> {
    const file = this.#openFetched(snapshot, entity);
    const [old, changes] = [this.#file, this.#changes];
    this.#pausedUntilMs = 0;
    if (old !== null) this.#resets += 1;
    this.#file = file;
    this.#changes = null;
    this.#head = Math.max(this.#head, file.position);
    this.#heardAtMs = Date.now();
    this.happened("snapshot_ready");
    this.#report.rowsChanged(this.name);
    this.#isTelling = true;
    try {
      for (const some of changes?.againstNewFile(file.path, file.position) ?? []) {
        await this.#report.changes(this.name, some);
      }
    } finally {
      this.#isTelling = false;
      changes?.close();
      old?.close();
      if (old !== null) this.#replaced.push({ path: old.path, atMs: performance.now() });
      this.#watchFile();
    }
  }

  /** Whether each change of a row is to be told. */
  watch(isWatched: boolean): void {
    this.#isWatched = isWatched;
    if (!isWatched) {
      this.#changes?.close();
      this.#changes = null;
    }
    this.#watchFile();
  }

  /** Looks after a part of the file, and removes files that were replaced. */
  maintain(checkBytes: number): void {
    try {
      const isOld = ({ atMs }: { readonly atMs: number }): boolean => performance.now() - atMs >= REPLACED_KEPT_MS;
      for (const { path } of this.#replaced.filter(isOld)) this.#folder.remove(path);
      this.#replaced = this.#replaced.filter((one) => !isOld(one));
      if (this.isFollowing) this.#file?.check(checkBytes);
    } catch (error) {
      this.#failedFile(error);
    }
  }

  close(): void {
    this.#changes?.close();
    this.#changes = null;
    this.#file?.close();
    this.happened("closed");
    this.#file = null;
  }

  status(): EntityStatus {
    const file = this.#file;
    return {
      name: this.name,
      state: this.#state,
      version: file?.version ?? null,
      logId: file?.logId ?? null,
      position: file?.position ?? 0,
      behind: Math.max(0, this.#head - (file?.position ?? 0)),
      path: file?.path ?? null,
      error: this.#error,
      resets: this.#resets,
      rejects: this.#rejects,
      heardAtMs: this.#heardAtMs,
    };
  }

  /** Opens a fetched file and lets the name lead to it; what can't be used is removed. */
  #openFetched({ path, logId }: DownloadedSnapshot, entity: Entity): CacheFile {
    let file: CacheFile | null = null;
    try {
      file = CacheFile.open(path, { entity, logId });
      this.#folder.serve(this.name, path);
      return file;
    } catch (error) {
      file?.close();
      this.#folder.remove(path);
      throw error;
    }
  }

  get #opened(): CacheFile {
    if (this.#file === null) throw new EmcacheError("internal", `entity ${this.name} has no file`);
    return this.#file;
  }

  #watchFile(): void {
    if (!this.#isWatched || this.#file === null || this.#changes !== null) return;
    this.#changes = new RowChanges(this.#file.path, this.#file.entity.shape.id_column.type);
  }

  #failedFile(error: unknown): void {
    if (error instanceof EmcacheError && error.code === "cache_damaged") {
      this.#damaged(this.#opened.path, error);
      return;
    }
    this.pause(this.backoff.nextMs());
    this.happened("write_failed", error);
  }

  #damaged(path: string, error: unknown): void {
    if (!(error instanceof EmcacheError) || error.code !== "cache_damaged") throw error;
    this.#changes?.close();
    this.#changes = null;
    try {
      this.#file?.close();
    } catch {
      // What can't be closed in order is given up with the rest.
    }
    this.#file = null;
    const reason = error.details["reason"];
    this.#folder.setAside(this.name, path, typeof reason === "string" ? reason : "damaged");
    this.happened("file_damaged", error);
  }
}

function wrongFile(path: string, what: string): EmcacheError {
  return new EmcacheError("cache_damaged", `${path}: ${what}`, { details: { path, reason: "entity" } });
}

function missedCopy(name: string): EmcacheError {
  return new EmcacheError("position_too_old", `a copy of ${name} ended whose begin this client has not seen`);
}

function shownError(error: unknown): ShownError {
  if (error instanceof EmcacheError) return { code: error.code, detail: error.message, hint: error.hint };
  const detail = error instanceof Error ? error.message : String(error);
  return { code: "internal", detail, hint: "" };
}
