import { type Db, type Document, type MongoClient, MongoServerError, Timestamp } from "mongodb";
import type { SourceConfig } from "../config/config.ts";
import { EMBEDDED } from "../config/option-table.ts";
import { messageOf } from "../runtime/error-message.ts";
import { untilAborted } from "../runtime/until-aborted.ts";
import { reportClock } from "./doctor-clock.ts";
import { connectForDoctor, standalone } from "./doctor-mongo-connect.ts";
import type { DoctorReport } from "./doctor-report.ts";

/** MongoDB's "Unauthorized". */
const UNAUTHORIZED = 13;
/** The server ends what takes longer. */
const COMMAND_MS_MAX = 5_000;
/** Below it, a weekend without EMCache ends in new copies. */
const WINDOW_HOURS_MIN = 24;
/** An oplog that is not filled to this part has not begun to forget. */
const FULL_PART = 0.9;
/** Collection that is asked where the database has none: reading it takes the same right. */
const ABSENT_COLLECTION = "emcache_doctor";

/** A source that answers, as its checks see it. */
interface AskedSource {
  readonly name: string;
  readonly config: SourceConfig;
  readonly client: MongoClient;
  readonly database: Db;
  readonly report: DoctorReport;
  readonly signal: AbortSignal;
}

/** Checks one source: whether it can be reached, captured and copied, and how long EMCache may be away from it. */
export async function checkSource(
  name: string,
  config: SourceConfig,
  report: DoctorReport,
  signal: AbortSignal,
): Promise<void> {
  if (config.uri === EMBEDDED) {
    report.warn(
      "connection",
      "the embedded development server: it lives in EMCache's memory and is empty after each start",
      `For anything but a trial, set sources.${name}.uri to a MongoDB replica set.`,
    );
    return;
  }
  const client = await connectForDoctor(name, config.uri, report, signal);
  if (client === null) return;
  try {
    const asked = { name, config, client, database: client.db(config.database), report, signal };
    const askedMs = Date.now();
    const hello = await untilAborted(client.db("admin").command({ hello: 1 }), signal);
    const answeredMs = Date.now();
    report.ok("connection", `reached at ${[...client.options.hosts].map(String).join(", ")}`);
    await checkVersion(asked, hello);
    const isCapturable = checkTopology(asked, hello);
    await checkPrivileges(asked, isCapturable);
    if (config.fullDocument === "post_image") await checkPostImages(asked);
    if (isCapturable) await checkWindow(asked, hello["msg"] === "isdbgrid");
    const { localTime } = hello as { localTime?: Date };
    if (localTime !== undefined) reportClock({ askedMs, serverMs: localTime.getTime(), answeredMs }, report);
  } finally {
    void client.close(true).catch(() => "it ends with the process");
  }
}

async function checkVersion({ client, config, name, report, signal }: AskedSource, hello: Document): Promise<void> {
  const info = await untilAborted(client.db("admin").command({ buildInfo: 1 }), signal).catch(() => null);
  const version: unknown = info?.["version"];
  const wireVersion = Number(hello["maxWireVersion"] ?? 0);
  const text = typeof version === "string" ? `version ${version}` : `wire version ${wireVersion}`;
  // Of 4.4, and of 6.0: https://github.com/mongodb/specifications/blob/master/source/wireversion-featurelist
  if (wireVersion < 9) {
    report.fail("version", `${text} is older than MongoDB 4.4`, "Upgrade the server; 4.4 is the oldest that works.");
  } else if (config.fullDocument === "post_image" && wireVersion < 17) {
    report.fail(
      "version",
      `${text} has no post-images, which sources.${name}.full_document = "post_image" asks for`,
      `Upgrade to MongoDB 6.0, or set sources.${name}.full_document = "lookup".`,
    );
  } else report.ok("version", text);
}

/** Whether the server has change streams. */
function checkTopology({ report }: AskedSource, hello: Document): boolean {
  if (hello["msg"] === "isdbgrid") {
    report.ok("topology", "a sharded cluster, through mongos");
    return true;
  }
  if (typeof hello["setName"] === "string") {
    const members = [hello["hosts"]].flat().length;
    report.ok("topology", `replica set ${hello["setName"]} with ${members} member${members === 1 ? "" : "s"}`);
    return true;
  }
  const { message, fix } = standalone();
  report.fail("topology", message, fix);
  return false;
}

async function checkPrivileges(asked: AskedSource, isCapturable: boolean): Promise<void> {
  const { database, report, signal } = asked;
  const missing: string[] = [];
  const tried = async (action: string, work: Promise<unknown>): Promise<unknown> => {
    try {
      return await untilAborted(work, signal);
    } catch (error) {
      signal.throwIfAborted();
      if (error instanceof MongoServerError && error.code === UNAUTHORIZED) missing.push(action);
      else report.fail("privileges", `${action} fails: ${messageOf(error)}`, "The server's log says more.");
      return null;
    }
  };
  const listed = await tried(
    "listCollections",
    database.listCollections({}, { nameOnly: true, maxTimeMS: COMMAND_MS_MAX }).toArray(),
  );
  const names = listed === null ? [] : (listed as { name: string }[]).map(({ name }) => name);
  const find = { find: names.find((name) => !name.startsWith("system.")) ?? ABSENT_COLLECTION, limit: 1 };
  const majority = { readConcern: { level: "majority" }, maxTimeMS: COMMAND_MS_MAX };
  await tried("find", database.command({ ...find, singleBatch: true, projection: { _id: 1 }, ...majority }));
  if (isCapturable) await tried("changeStream", openStream(asked));
  if (missing.length > 0) {
    const { message, fix } = missingRights(asked, missing);
    report.fail("privileges", message, fix);
  } else if (report.lines.every(({ check }) => check !== "privileges")) {
    const actions = `listCollections${isCapturable ? ", find and changeStream" : " and find"}`;
    report.ok("privileges", `${actions} on database ${database.databaseName} are allowed`);
  }
  if (listed !== null && names.length === 0) {
    report.warn(
      "database",
      `the database ${database.databaseName} has no collection yet`,
      `If that surprises you, correct sources.${asked.name}.database: names differ by case.`,
    );
  }
}

/** Opens a change stream on the database and closes it. */
async function openStream({ database, client }: AskedSource): Promise<void> {
  const session = client.startSession({ causalConsistency: false });
  try {
    const pipeline = [{ $changeStream: {} }];
    const reply = await database.command(
      { aggregate: 1, pipeline, cursor: { batchSize: 1 }, maxTimeMS: COMMAND_MS_MAX },
      { session, promoteLongs: false },
    );
    const { id } = reply["cursor"] as { id: unknown };
    await database.command({ killCursors: "$cmd.aggregate", cursors: [id] }, { session }).catch(() => "it times out");
  } finally {
    await session.endSession().catch(() => "it times out");
  }
}

function missingRights(asked: AskedSource, missing: readonly string[]): { message: string; fix: string } {
  const { database, client, name } = asked;
  const { credentials } = client.options;
  const message = `the user may not ${missing.join(", ")} on database ${database.databaseName}`;
  if (credentials === undefined) {
    return {
      message: `the server wants a user: without one, ${missing.join(", ")} on database ${database.databaseName} are refused`,
      fix: `Write user and password in sources.${name}.uri: mongodb://USER:PASSWORD@HOST/DATABASE?authSource=admin`,
    };
  }
  return { message, fix: grant(asked, "read", database.databaseName) };
}

/** The command that gives a source's user a role. */
function grant({ client }: AskedSource, role: string, database: string): string {
  const user = client.options.credentials;
  if (user === undefined) return `Grant the user the role "${role}" on ${database}.`;
  const roles = `[{ role: "${role}", db: "${database}" }]`;
  return `In mongosh, as an administrator: db.getSiblingDB("${user.source}").grantRolesToUser("${user.username}", ${roles})`;
}

async function checkPostImages({ database, report, signal, name }: AskedSource): Promise<void> {
  const listed = await untilAborted(database.listCollections({ type: "collection" }).toArray(), signal).catch(() => []);
  const without = listed.flatMap((collection) => {
    const options = "options" in collection ? (collection.options as Document | undefined) : undefined;
    const images = options?.["changeStreamPreAndPostImages"] as { enabled?: boolean } | undefined;
    return images?.enabled === true || collection.name.startsWith("system.") ? [] : [collection.name];
  });
  if (without.length === 0) return report.ok("post-images", "every collection stores them");
  report.warn(
    "post-images",
    `not stored by ${without.slice(0, 10).join(", ")}${without.length > 10 ? " and others" : ""}: updates of these are looked up, as with full_document = "lookup"`,
    `For those that entities use: db.getSiblingDB("${database.databaseName}").runCommand({ collMod: NAME, changeStreamPreAndPostImages: { enabled: true } }); or set sources.${name}.full_document = "lookup".`,
  );
}

/** How far the oplog reaches back: for so long EMCache may be away, or stand still. */
async function checkWindow(asked: AskedSource, isSharded: boolean): Promise<void> {
  const { client, report, signal } = asked;
  const check = "oplog window";
  if (isSharded) return report.ok(check, "not told by mongos: ask each shard (rs.printReplicationInfo())");
  const oplog = client.db("local").collection("oplog.rs");
  const edge = async (order: 1 | -1): Promise<number | null> => {
    const sort = { $natural: order } as const;
    const found = oplog.find({}, { projection: { ts: 1 }, sort, limit: 1, maxTimeMS: COMMAND_MS_MAX }).next();
    const ts: unknown = (await untilAborted(found, signal))?.["ts"];
    return ts instanceof Timestamp ? ts.getHighBits() >>> 0 : null;
  };
  try {
    const [oldestS, newestS] = [await edge(1), await edge(-1)];
    if (oldestS === null || newestS === null) return report.ok(check, "the server does not tell it");
    const stats = await oplog
      .aggregate([{ $collStats: { storageStats: {} } }])
      .next()
      .catch(() => null);
    const { size, maxSize } = (stats?.["storageStats"] ?? {}) as { size?: number; maxSize?: number };
    const isFilling = size !== undefined && maxSize !== undefined && size < maxSize * FULL_PART;
    reportWindow((newestS - oldestS) / 3600, isFilling, report);
  } catch (error) {
    signal.throwIfAborted();
    const isHidden = error instanceof MongoServerError && error.code === UNAUTHORIZED;
    report.warn(
      check,
      isHidden ? "this user may not see it; EMCache works without" : `it can't be read: ${messageOf(error)}`,
      isHidden ? grant(asked, "read", "local") : "rs.printReplicationInfo() in mongosh shows it.",
    );
  }
}

/** @param isFilling the oplog has room left, so it has not forgotten anything yet */
export function reportWindow(hours: number, isFilling: boolean, report: DoctorReport): void {
  const text = `${hours.toFixed(hours < 10 ? 1 : 0)} hours`;
  const check = "oplog window";
  if (isFilling) return report.ok(check, `${text} so far, and not full yet`);
  if (hours >= WINDOW_HOURS_MIN) return report.ok(check, `${text}: for so long EMCache may be away from this source`);
  report.warn(
    check,
    `${text}: if EMCache is away from this source for longer, its entities are copied anew`,
    "Enlarge the oplog in mongosh, here to 16 GB: db.adminCommand({ replSetResizeOplog: 1, size: Double(16384) })",
  );
}
