import { Long, ObjectId, Timestamp } from "bson";
import { type BsonDocument, isDocument, isTruthy } from "../bson/codec.ts";
import type { ServerState } from "../server-state.ts";
import { offeredCompressors } from "../wire/compression.ts";
import { type CommandContext, type CommandDefinition, type Reply, numberArgument } from "./command.ts";

const VERSION = "8.0.0";

/** Makes an ObjectId that grows with each election, as `electionId` does. */
function electionId(term: number): ObjectId {
  return new ObjectId(`7fffffff${term.toString(16).padStart(16, "0")}`);
}

async function hello(context: CommandContext): Promise<Reply> {
  const { body, server, signal } = context;
  const known = body["topologyVersion"];
  const waitMs = numberArgument(body, "maxAwaitTimeMS", 0);
  if (isDocument(known) && waitMs > 0 && isCurrent(server, known)) await untilTopologyChanges(server, waitMs, signal);
  return description(context);
}

/** Whether the client knows the topology as it is, and wants to be told when it changes. */
function isCurrent(server: ServerState, known: BsonDocument): boolean {
  const { processId, counter } = known;
  if (!(processId instanceof ObjectId) || !processId.equals(server.processId)) return false;
  return counter instanceof Long && counter.toBigInt() === server.topologyCounter;
}

async function untilTopologyChanges(server: ServerState, waitMs: number, signal: AbortSignal): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, waitMs);
  const stopListening = server.onTopologyChange(resolve);
  const onAbort = (): void => resolve();
  signal.addEventListener("abort", onAbort, { once: true });
  await promise;
  clearTimeout(timer);
  stopListening();
  signal.removeEventListener("abort", onAbort);
}

function description({ server, name, body, listener }: CommandContext): BsonDocument {
  const isLegacy = name !== "hello";
  const isSharded = server.topology === "sharded";
  const isStandalone = server.topology === "standalone";
  const isPrimary = server.isPrimary || isSharded || isStandalone;
  const me = server.hosts[listener] ?? "";
  const primaryField = isLegacy ? { ismaster: isPrimary } : { isWritablePrimary: isPrimary };
  const lastWrite = { ts: new Timestamp(server.store.clock.last), t: Long.fromNumber(server.electionTerm) };
  const replicaSet = {
    hosts: [...server.hosts],
    setName: "dev",
    setVersion: 1,
    secondary: !isPrimary,
    ...(isPrimary ? { primary: me, electionId: electionId(server.electionTerm) } : {}),
    me,
    lastWrite: {
      opTime: lastWrite,
      lastWriteDate: new Date(),
      majorityOpTime: lastWrite,
      majorityWriteDate: new Date(),
    },
  };
  return {
    helloOk: true,
    ...primaryField,
    topologyVersion: { processId: server.processId, counter: Long.fromBigInt(server.topologyCounter) },
    ...(isSharded ? { msg: "isdbgrid" } : isStandalone ? {} : replicaSet),
    maxBsonObjectSize: 16 * 1024 * 1024,
    maxMessageSizeBytes: 48_000_000,
    maxWriteBatchSize: 100_000,
    localTime: new Date(),
    logicalSessionTimeoutMinutes: 30,
    connectionId: 1,
    minWireVersion: 0,
    maxWireVersion: server.wireVersion,
    readOnly: false,
    compression: offeredCompressors(body["compression"]),
  };
}

function buildInfo(): Reply {
  return {
    version: VERSION,
    gitVersion: "emcache-dev-mongo",
    modules: [],
    versionArray: [8, 0, 0, 0],
    bits: 64,
    debug: false,
    maxBsonObjectSize: 16 * 1024 * 1024,
    storageEngines: ["emcacheDevMongo"],
  };
}

function replSetGetStatus({ server }: CommandContext): Reply {
  const state = server.isPrimary ? 1 : 2;
  const optime = { ts: new Timestamp(server.store.clock.last), t: Long.fromNumber(server.electionTerm) };
  const members = server.hosts.map((name, _id) => ({
    _id,
    name,
    health: 1,
    state,
    stateStr: state === 1 ? "PRIMARY" : "SECONDARY",
    optime,
    self: true,
  }));
  return { set: "dev", date: new Date(), myState: state, term: Long.fromNumber(server.electionTerm), members };
}

function serverStatus({ server }: CommandContext): Reply {
  return {
    host: server.hosts[0] ?? "",
    version: VERSION,
    process: "emcache-dev-mongo",
    pid: Long.fromNumber(process.pid),
    uptime: Math.floor(process.uptime()),
    localTime: new Date(),
    metrics: {
      cursor: { open: { total: server.cursors.size } },
      document: { returned: server.returned.documents },
      // Not in MongoDB.
      emcache: { eventsReturned: server.returned.events },
    },
  };
}

/** What shells ask for at start. */
const EMPTY: CommandDefinition = { run: () => ({}), isAlwaysServed: true };

const HELLO: CommandDefinition = { run: hello, isAlwaysServed: true };

export const helloCommands: Readonly<Record<string, CommandDefinition>> = {
  hello: HELLO,
  ismaster: HELLO,
  isMaster: HELLO,
  ping: EMPTY,
  logout: EMPTY,
  buildInfo: { run: buildInfo, isAlwaysServed: true },
  buildinfo: { run: buildInfo, isAlwaysServed: true },
  replSetGetStatus: { run: replSetGetStatus, isAlwaysServed: true },
  serverStatus: { run: serverStatus, isAlwaysServed: true },
  connectionStatus: {
    run: () => ({ authInfo: { authenticatedUsers: [], authenticatedUserRoles: [], authenticatedUserPrivileges: [] } }),
    isAlwaysServed: true,
  },
  hostInfo: { run: () => ({ system: { hostname: "127.0.0.1" }, os: {}, extra: {} }), isAlwaysServed: true },
  whatsmyuri: { run: () => ({ you: "127.0.0.1:0" }), isAlwaysServed: true },
  getLog: { run: () => ({ totalLinesWritten: 0, log: [] }), isAlwaysServed: true },
  getCmdLineOpts: { run: () => ({ argv: ["emcache-dev-mongo"], parsed: {} }), isAlwaysServed: true },
  getParameter: {
    run: ({ body }) =>
      isTruthy(body["featureCompatibilityVersion"]) ? { featureCompatibilityVersion: { version: "8.0" } } : {},
    isAlwaysServed: true,
  },
};
