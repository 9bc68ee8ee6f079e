import {
  type Document,
  MongoClient,
  MongoServerError,
  MongoServerSelectionError,
  type TopologyDescription,
} from "mongodb";
import { messageOf } from "../runtime/error-message.ts";
import { untilAborted } from "../runtime/until-aborted.ts";
import type { DoctorReport } from "./doctor-report.ts";

/** A server on the same continent answers in a tenth of it. */
const SELECTION_TIMEOUT_MS = 5_000;
const PROBE_TIMEOUT_MS = 2_000;

/** MongoDB's "AuthenticationFailed". */
const AUTHENTICATION_FAILED = 18;

/** A connection to what a source's URI names, or null after a line that says what is wrong with it. */
export async function connectForDoctor(
  sourceName: string,
  uri: string,
  report: DoctorReport,
  signal: AbortSignal,
): Promise<MongoClient | null> {
  const key = `sources.${sourceName}.uri`;
  let client: MongoClient;
  try {
    client = newClient(uri, SELECTION_TIMEOUT_MS);
  } catch (error) {
    report.fail("connection", `${key}: ${messageOf(error)}`, "Write it as mongodb://USER:PASSWORD@HOST:27017/DATABASE");
    return null;
  }
  try {
    await untilAborted(client.connect(), signal);
    return client;
  } catch (error) {
    void client.close(true).catch(() => "it never was open");
    signal.throwIfAborted();
    const { message, fix } = await explainFailure(error, uri, key, signal);
    report.fail("connection", message, fix);
    return null;
  }
}

function newClient(uri: string, timeoutMs: number): MongoClient {
  return new MongoClient(uri, {
    appName: "emcache doctor",
    serverSelectionTimeoutMS: timeoutMs,
    connectTimeoutMS: timeoutMs,
    socketTimeoutMS: 10_000,
    readPreference: "primary",
    retryReads: false,
    maxPoolSize: 2,
  });
}

interface Explanation {
  readonly message: string;
  readonly fix: string;
}

async function explainFailure(error: unknown, uri: string, key: string, signal: AbortSignal): Promise<Explanation> {
  if (error instanceof MongoServerError && error.code === AUTHENTICATION_FAILED) {
    return {
      message: `the server refuses user and password (${messageOf(error)})`,
      fix: `Check both in ${key}; a user of another database needs ?authSource=THAT_DATABASE (often admin), and characters like @ : / in a password are written as %40 %3A %2F.`,
    };
  }
  const seen = error instanceof MongoServerSelectionError ? serversOf(error.reason) : [];
  const causes = seen.map(({ address, reason }) => `${address}: ${reason}`);
  const message = `no server can be reached: ${causes.length > 0 ? causes.join("; ") : messageOf(error)}`;
  const hello = await probe(uri, signal);
  if (hello !== null) return explainMember(hello, uri, key);
  return { message, fix: fixOf(`${causes.join(" ")} ${messageOf(error)}`, key) };
}

/** What the driver saw of each server. */
function serversOf(reason: TopologyDescription | undefined): { address: string; reason: string }[] {
  return [...(reason?.servers ?? new Map<string, { error: Error | null; type: string }>())].map(
    ([address, { error, type }]) => ({
      address,
      reason: error === null ? `it answers as ${type}` : messageOf(error.cause ?? error),
    }),
  );
}

function fixOf(causes: string, key: string): string {
  if (/ENOTFOUND|EAI_AGAIN|querySrv|EREFUSED|ENODATA/.test(causes)) {
    return `The host's name is not known here: correct it in ${key}, or the DNS of this machine.`;
  }
  if (/ECONNREFUSED/.test(causes)) {
    return `Nothing listens there: start MongoDB, or correct host and port in ${key} (inside a container, localhost is the container itself).`;
  }
  if (/certificate|TLS|SSL|EPROTO/i.test(causes)) {
    return `Server and client don't agree on TLS: ${key} takes tls=true and tlsCAFile=FILE.`;
  }
  return `Check host and port in ${key}, that the server runs, and that no firewall or access list stands between.`;
}

/** What the first server of the URI that answers says of itself, whatever set it belongs to; null where none does. */
async function probe(uri: string, signal: AbortSignal): Promise<Document | null> {
  const [, before, hosts, after] = /^(mongodb:\/\/(?:[^/?]*@)?)([^/?]+)(.*)$/s.exec(uri) ?? [];
  if (before === undefined || hosts === undefined || after === undefined) return null;
  for (const host of hosts.split(",")) {
    const query = after.replace(/([?&])replicaSet=[^&]*&?/i, "$1").replace(/^([^/?]*)$/, "/");
    const direct = `${before}${host}${query}${query.includes("?") ? "&" : "?"}directConnection=true`;
    const client = newClient(direct, PROBE_TIMEOUT_MS);
    try {
      await untilAborted(client.connect(), signal);
      return await untilAborted(client.db("admin").command({ hello: 1 }), signal);
    } catch {
      signal.throwIfAborted();
    } finally {
      void client.close(true).catch(() => "it never was open");
    }
  }
  return null;
}

/** Why a server that answers when it is asked alone can't be used by the URI. */
function explainMember(hello: Document, uri: string, key: string): Explanation {
  const wanted = /[?&]replicaSet=([^&]*)/i.exec(uri)?.[1];
  const { setName, msg } = hello as { setName?: string; msg?: string };
  if (setName === undefined && msg !== "isdbgrid") return standalone();
  if (wanted !== undefined && setName !== undefined && setName !== wanted) {
    return {
      message: `the server belongs to the replica set ${setName}, the URI asks for ${wanted}`,
      fix: `Write replicaSet=${setName} in ${key}, or leave it out.`,
    };
  }
  const members = [hello["hosts"]].flat().filter((host): host is string => typeof host === "string");
  if (hello["primary"] === undefined) {
    return {
      message: `the replica set ${String(setName)} answers, but has no primary now`,
      fix: "Look at rs.status() in mongosh: a majority of its members has to run and see one another.",
    };
  }
  return {
    message: `the server answers, but its replica set names its members ${members.join(", ")}, which this machine can't reach`,
    fix: `Make these names known here (DNS, /etc/hosts), or give the members reachable names by rs.reconfig(); for a set of one member, directConnection=true in ${key} will do.`,
  };
}

/** A server without change streams, and what to do with it. */
export function standalone(): Explanation {
  return {
    message: "it is a standalone server: those have no change streams, which EMCache reads",
    fix: "Make it a replica set of one member, which keeps all data: start mongod with --replSet rs0 (in mongod.conf: replication.replSetName), then once in mongosh: rs.initiate()",
  };
}
