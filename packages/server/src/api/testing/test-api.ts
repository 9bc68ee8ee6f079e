import { EmcacheError, type EntityDefinition, type SnapshotManifest } from "@emcache/protocol";
import { createHash } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { EntityRegistry } from "../../entity/entity-registry.ts";
import { MemoryEntityStore } from "../../entity/testing/memory-entity-store.ts";
import { validateEntity } from "../../entity/validate-entity.ts";
import { HealthRegistry } from "../../runtime/health-registry.ts";
import { createLogger } from "../../runtime/logger.ts";
import type { StoredClaim } from "../../oplog/claim-store.ts";
import type { ConsumerSeen } from "../../oplog/consumer-claims.ts";
import type { OplogPage, PageRow } from "../../oplog/oplog-page.ts";
import type { PageRequest } from "../../oplog/oplog-reader.ts";
import { PageHub } from "../../oplog/page-hub.ts";
import type { ReadableLog } from "../../oplog/read-log.ts";
import type {
  ApiDependencies,
  CacheStatusShown,
  CaptureStatus,
  ConsumersPort,
  ContentCoding,
  CopiesPort,
  CopyCondition,
  SnapshotFile,
} from "../api-dependencies.ts";
import { SumsBuilder } from "../../snapshot/file-sums.ts";
import { ApiServer } from "../api-server.ts";
import { openAuthenticator } from "../authenticator.ts";
import { MemoryTokens } from "./memory-tokens.ts";
import type { SnapshotForm, SnapshotForms, SnapshotsPort } from "../snapshots-port.ts";

/** The log in memory. It looks at `scanMax` positions a page, as the real one stops at some number. */
export class MemoryOplog implements ReadableLog {
  readonly rows: PageRow[] = [];
  floor = 1;
  scanMax = 1_000_000;
  failure: EmcacheError | null = null;
  pageCount = 0;

  append(version: number, operation: PageRow["operation"], docId = "", data: string | null = null): void {
    const position = this.rows.length + 1;
    const createdAt = "2026-01-02T03:04:05.678Z";
    this.rows.push({
      position,
      version,
      operation,
      docId,
      idType: 2,
      origin: "stream",
      transaction: null,
      transactionEnd: false,
      data,
      createdAt,
    });
  }

  async head(): Promise<{ logId: string; head: number; floor: number }> {
    if (this.failure !== null) throw this.failure;
    return { logId: "log-1", head: this.rows.length, floor: this.floor };
  }

  async page({ after, limit, versions }: PageRequest): Promise<OplogPage> {
    const { logId, head, floor } = await this.head();
    this.pageCount += 1;
    if (after + 1 < floor)
      throw new EmcacheError("position_too_old", `the log starts at ${floor}`, { details: { floor } });
    const through = Math.min(after + this.scanMax, head);
    const rows = this.rows
      .filter(
        ({ position, version }) => position > after && position <= through && (versions?.includes(version) ?? true),
      )
      .slice(0, limit);
    const position = rows.length === limit ? (rows.at(-1)?.position ?? after) : Math.max(after, through);
    const tagAtFrom = after > head ? null : tagOf(after);
    const batches = versions === undefined ? rows.map((row) => batchOf(row.position)) : [];
    const full = position < head;
    return { logId, floor, head, rows, position, tag: tagOf(position), tagAtFrom, full, batches };
  }
}

function tagOf(position: number): string {
  return position === 0 ? "" : `tag-${position}`;
}

/** Each row is a batch of its own. */
function batchOf(position: number): OplogPage["batches"][number] {
  return { first: position, count: 1, tag: tagOf(position) };
}

/** Consumers in memory. */
class MemoryConsumers implements ConsumersPort {
  readonly claims = new Map<string, StoredClaim>();

  seen(claim: ConsumerSeen): void {
    this.claims.set(claim.name, { ...claim, kind: "consumer", ageS: 1, refreshedAt: "2026-01-02T03:04:05.000Z" });
  }

  async list(): Promise<StoredClaim[]> {
    return [...this.claims.values()];
  }

  async remove(name: string): Promise<boolean> {
    return this.claims.delete(name);
  }
}

/** The definition that the brief creates. */
export const USERS: EntityDefinition = {
  name: "users",
  client: "main",
  source: "users",
  shape: {
    id_column: { path: "$._id", type: "string" },
    columns: [
      { name: "email", type: "string", path: "$.email" },
      { name: "name", type: "string", path: "$.name" },
      { name: "age", type: "integer", path: "$.age" },
    ],
    indexes: [{ name: "email_idx", columns: ["email"] }],
  },
};

/** Nothing of what a deployment may add. */
const PLAIN = {
  tls: null,
  rateLimit: 0,
  authenticator: openAuthenticator,
  metrics: null,
  tracer: null,
  site: null,
  queries: null,
  cachesPublicly: false,
  claimTtlS: 3600,
} as const;

const NEVER = new AbortController().signal;

/** An API that listens on a port of its own, over parts in memory. */
export class TestApi {
  readonly store = new MemoryEntityStore();
  readonly registry: EntityRegistry;
  readonly oplog = new MemoryOplog();
  readonly statuses = new Map<number, CacheStatusShown>();
  readonly cachePaths = new Map<number, string>();
  readonly captures = new Map<string, CaptureStatus>();
  readonly copies = new Map<number, { rowCount: number; rowCountEstimate: number }>();
  readonly rejects = new Map<number, number>();
  readonly conditions = new Map<number, CopyCondition>();
  /** What was asked of copies. */
  readonly copyOrders: string[] = [];
  readonly copyControl: CopiesPort = {
    conditions: async () => this.conditions,
    request: async (version) => void this.copyOrders.push(`copy ${version}`),
    pause: async (name) => void this.copyOrders.push(`pause ${name}`),
    resume: async (name) => void this.copyOrders.push(`resume ${name}`),
  };
  readonly health = new HealthRegistry();
  readonly logLines: string[] = [];
  readonly folder = mkdtempSync(join(tmpdir(), "emcache-api-"));
  snapshot: SnapshotFile | null = null;
  /** Replaces what POST /api/snapshots does. */
  create: (name: string, signal: AbortSignal) => Promise<SnapshotManifest> = async () =>
    this.makeSnapshot(Buffer.from("SQLite format 3\0 1")).manifest;
  /** Replaces what is found for GET /api/snapshots/{entity}. */
  find: SnapshotsPort["find"] = async () =>
    this.snapshot === null ? null : { kind: "file", file: this.formsOf(this.snapshot) };
  /** Replaces what is restored. */
  restore: SnapshotsPort["restore"] = async () => {
    throw new EmcacheError("point_unreachable", "nothing to restore from");
  };
  /** Ids that were to be deleted. */
  readonly removed: string[] = [];
  /** Paths that were told to be damaged. */
  readonly damaged: string[] = [];
  readonly #forms = new Map<string, SnapshotForm>();
  legacy: (name: string, coding: ContentCoding, signal: AbortSignal) => Promise<string> = async (_name, coding) =>
    this.write(`legacy.${coding}`, Buffer.from(`legacy in ${coding}`));
  readonly consumers = new MemoryConsumers();
  readonly hub: PageHub;
  readonly dependencies: ApiDependencies;
  readonly server: ApiServer;

  constructor(overrides: Partial<ApiDependencies> = {}) {
    const logger = createLogger({
      level: "info",
      destination: { write: (line: string) => void this.logLines.push(line) },
    });
    this.registry = new EntityRegistry({
      store: this.store,
      refreshIntervalMs: 3_600_000,
      logger,
      health: new HealthRegistry().component("registry"),
    });
    const log = overrides.oplog ?? this.oplog;
    this.hub = overrides.hub ?? new PageHub({ log, bytesMax: 4_000_000, waitersMax: 1000, intervalMs: 1000, logger });
    this.dependencies = {
      ...PLAIN,
      hub: this.hub,
      consumers: this.consumers,
      host: "127.0.0.1",
      port: 0,
      tokens: new MemoryTokens(),
      logger,
      sourceNames: ["main"],
      registry: this.registry,
      oplog: this.oplog,
      caches: { statuses: () => this.statuses },
      cachePathOf: (version) => this.cachePaths.get(version) ?? null,
      copies: this.copyControl,
      rejects: {
        count: async () => this.rejects,
        clear: async (version) => void this.rejects.delete(version),
        list: async () => [
          {
            docId: "d1",
            column: "age",
            reason: "is no integer",
            sample: '"x"',
            seenCount: 2,
            lastSeenAt: "2026-01-02T03:04:05.000Z",
          },
        ],
      },
      captures: {
        captureStatus: (name) => this.captures.get(name) ?? { lagMs: 5, error: null },
        copyProgress: (version) => this.copies.get(version) ?? null,
      },
      verifier: {
        begin: () => Promise.reject(new EmcacheError("verification_not_ready", "Nothing to verify here")),
        end: () => undefined,
      },
      snapshots: {
        create: (name, signal) => this.create(name, signal),
        newest: async () => this.snapshot,
        list: async () => (this.snapshot === null ? [] : [this.snapshot.manifest]),
        find: (name, wanted, coding) => this.find(name, wanted, coding, NEVER),
        manifest: async () => this.snapshot?.manifest ?? null,
        restore: (name, point) => this.restore(name, point, NEVER),
        remove: async (_name, id) => void this.removed.push(id),
        damaged: async (_file, path) => void this.damaged.push(path),
        legacyFile: (name, coding, signal) => this.legacy(name, coding, signal),
      },
      health: this.health,
      validateEntity,
      ...overrides,
    };
    this.server = new ApiServer(this.dependencies);
  }

  async start(): Promise<this> {
    await this.registry.refresh();
    await this.hub.start();
    await this.server.start();
    return this;
  }

  async close(): Promise<void> {
    await this.server.stop(AbortSignal.timeout(1000));
    await this.hub.stop();
    rmSync(this.folder, { recursive: true, force: true });
  }

  /** Makes a version; of a name that there is, one that will replace it. */
  async add(definition: EntityDefinition, state: "live" | "pending"): Promise<number> {
    const isNew = this.registry.get(definition.name) === null;
    const created = await (isNew
      ? this.registry.create(definition)
      : this.registry.update(definition.name, definition));
    if (state === "live") await this.makeLive(created.entity.id);
    return created.entity.id;
  }

  /** What the end of its first copy does. */
  async makeLive(version: number): Promise<void> {
    this.store.makeLive(version);
    await this.registry.refresh();
  }

  get url(): string {
    return this.server.address() ?? "";
  }

  write(name: string, bytes: Buffer): string {
    const path = join(this.folder, name);
    writeFileSync(path, bytes);
    return path;
  }

  makeSnapshot(bytes: Buffer): SnapshotFile {
    const sha256 = createHash("sha256").update(bytes).digest("hex");
    const manifest: SnapshotManifest = {
      id: `s-${sha256.slice(0, 8)}`,
      entity: "users",
      version: 1,
      log_id: "log-1",
      position: 42,
      tag: "tag-42",
      cluster_time_s: null,
      rows: 3,
      size_bytes: bytes.length,
      sha256,
      compressions: [],
      created_at: "2026-01-02T03:04:05.000Z",
    };
    const path = this.write(`${manifest.id}.db`, bytes);
    const sums = new SumsBuilder();
    sums.update(bytes);
    this.#forms.set(path, { coding: "identity", path, ...sums.finish() });
    this.snapshot = { manifest, path };
    return this.snapshot;
  }

  /** A snapshot as it is sent: with the sums that it had when it was made. */
  formsOf({ manifest, path }: SnapshotFile): SnapshotForms {
    const form = this.#forms.get(path);
    return { manifest, forms: form === undefined ? [] : [form] };
  }

  request(path: string, init: RequestInit = {}): Promise<Response> {
    return fetch(this.url + path, { signal: AbortSignal.timeout(10_000), ...init });
  }

  send(method: string, path: string, body: unknown): Promise<Response> {
    return this.request(path, { method, headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
  }
}
