import pg from "pg";
import { setTimeout as pause } from "node:timers/promises";
import type { Config } from "../config/config.ts";
import { schemaState } from "../oplog/schema-state.ts";
import { sqlStateOf } from "../oplog/postgres-error.ts";
import { messageOf } from "../runtime/error-message.ts";
import { untilAborted } from "../runtime/until-aborted.ts";
import { reportClock } from "./doctor-clock.ts";
import type { DoctorReport } from "./doctor-report.ts";

const KEY = "database.postgres.uri";
const CONNECT_TIMEOUT_MS = 5_000;
/** Notifications come within milliseconds, or not at all. */
const NOTIFY_TIMEOUT_MS = 2_000;

/** What to do about a refused connection, by SQLSTATE or the system's code. */
const CONNECT_FIXES: Readonly<Record<string, string>> = {
  "28P01": `Correct user and password in ${KEY} (characters like @ : / in a password are written as %40 %3A %2F).`,
  "28000": `Let the server accept this user from this machine (pg_hba.conf), or name another one in ${KEY}.`,
  "3D000": `Create it: createdb NAME (or CREATE DATABASE name ENCODING 'UTF8' TEMPLATE template0), or correct ${KEY}.`,
  "53300": "The server is out of connections: raise its max_connections, or end what holds them.",
  "57P03": "The server is starting or stopping: wait and run doctor again.",
  ENOTFOUND: `The host's name is not known here: correct it in ${KEY}, or the DNS of this machine.`,
  EAI_AGAIN: `The host's name is not known here: correct it in ${KEY}, or the DNS of this machine.`,
  ECONNREFUSED: `Nothing listens there: start PostgreSQL, correct ${KEY}, or leave it out: EMCache then starts a private one.`,
};

/** Checks a PostgreSQL server: whether it can hold the log, and whether its user may do what that takes. */
export async function checkPostgres(
  { database: { postgres } }: Config,
  report: DoctorReport,
  signal: AbortSignal,
): Promise<void> {
  const client = await connect(postgres.uri, report, signal);
  if (client === null) return;
  try {
    const server = await askServer(client, report, signal);
    checkServer(server, report);
    checkConnections(server, postgres.maxConnections, report);
    await checkSchema(client, report, signal);
    if (!server.read_only) await checkCreate(client, server, report, signal);
    await checkListen(client, report, signal);
  } finally {
    void client.end().catch(() => "it ends with the process");
  }
}

async function connect(uri: string, report: DoctorReport, signal: AbortSignal): Promise<pg.Client | null> {
  try {
    const client = new pg.Client({
      connectionString: uri,
      application_name: "emcache doctor",
      connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    });
    // A connection that breaks while nothing is asked must not end the process.
    client.on("error", () => undefined);
    await untilAborted(client.connect(), signal);
    return client;
  } catch (error) {
    signal.throwIfAborted();
    const code = sqlStateOf(error) ?? codeIn(error) ?? "";
    const fix = CONNECT_FIXES[code] ?? `Check host and port in ${KEY}, and that no firewall stands between.`;
    report.fail("connection", `no connection: ${messageOf(error)}${code === "" ? "" : ` (${code})`}`, fix);
    return null;
  }
}

/** The system's code, such as ECONNREFUSED. */
function codeIn(error: unknown): string | null {
  if (!(error instanceof Error)) return null;
  if ("code" in error && typeof error.code === "string") return error.code;
  return error instanceof AggregateError ? codeIn(error.errors[0]) : null;
}

interface ServerFacts {
  readonly version: string;
  readonly version_number: number;
  readonly encoding: string;
  readonly standby: boolean;
  readonly read_only: boolean;
  readonly user_name: string;
  readonly database: string;
  readonly connections_max: number;
  readonly connections_reserved: number;
}

async function askServer(client: pg.Client, report: DoctorReport, signal: AbortSignal): Promise<ServerFacts> {
  const askedMs = Date.now();
  const { rows } = await untilAborted(
    client.query<ServerFacts & { now_ms: number }>(
      `SELECT current_setting('server_version') AS version,
         current_setting('server_version_num')::integer AS version_number,
         current_setting('server_encoding') AS encoding, pg_is_in_recovery() AS standby,
         current_setting('transaction_read_only')::boolean AS read_only,
         current_user::text AS user_name, current_database()::text AS database,
         current_setting('max_connections')::integer AS connections_max,
         current_setting('superuser_reserved_connections')::integer AS connections_reserved,
         (extract(epoch FROM clock_timestamp()) * 1000)::float8 AS now_ms`,
    ),
    signal,
  );
  const [facts] = rows;
  if (facts === undefined) throw new Error("PostgreSQL answered without a row");
  report.ok("connection", `reached as ${facts.user_name} on database ${facts.database}`);
  reportClock({ askedMs, serverMs: facts.now_ms, answeredMs: Date.now() }, report);
  return facts;
}

function checkServer(server: ServerFacts, report: DoctorReport): void {
  if (server.version_number < 130_000) {
    report.fail("version", `version ${server.version} is older than 13`, "Upgrade PostgreSQL to 13 or newer.");
  } else report.ok("version", `version ${server.version}`);
  if (server.encoding !== "UTF8") {
    report.fail(
      "encoding",
      `the database's encoding is ${server.encoding}`,
      "Use another database: CREATE DATABASE name ENCODING 'UTF8' TEMPLATE template0",
    );
  }
  if (server.standby) {
    report.fail("writable", "it is a standby, which takes no writes", `Name the primary in ${KEY}.`);
  } else if (server.read_only) {
    report.fail(
      "writable",
      "it is set to be read-only (default_transaction_read_only)",
      "ALTER DATABASE or ALTER ROLE … RESET default_transaction_read_only, whichever set it.",
    );
  }
}

function checkConnections(server: ServerFacts, wanted: number, report: DoctorReport): void {
  const allowed = server.connections_max - server.connections_reserved;
  if (wanted < allowed) return;
  report.warn(
    "connections",
    `database.postgres.max_connections is ${wanted}, and the server has ${allowed} for all its users`,
    "Raise the server's max_connections, or lower database.postgres.max_connections.",
  );
}

async function checkSchema(client: pg.Client, report: DoctorReport, signal: AbortSignal): Promise<void> {
  try {
    const { version, pending } = await untilAborted(schemaState(client), signal);
    if (version === 0) report.ok("schema", "none yet: emcache serve makes it");
    else if (pending.length === 0) report.ok("schema", `up to date (version ${version})`);
    else report.ok("schema", `version ${version}; emcache serve brings it to version ${version + pending.length}`);
  } catch (error) {
    signal.throwIfAborted();
    const isNewer = /knows up to/.test(messageOf(error));
    report.fail(
      "schema",
      messageOf(error),
      isNewer
        ? "Start at least the EMCache version that migrated it; a downgrade is not possible."
        : "Give the schema emcache to this user: ALTER SCHEMA emcache OWNER TO user, and so for its tables.",
    );
  }
}

/** Makes a schema with a table, as a start does, and takes both back. */
async function checkCreate(
  client: pg.Client,
  server: ServerFacts,
  report: DoctorReport,
  signal: AbortSignal,
): Promise<void> {
  const { rows } = await untilAborted(
    client.query<{ owned: boolean }>(
      "SELECT pg_has_role(nspowner, 'USAGE') AS owned FROM pg_namespace WHERE nspname = 'emcache'",
    ),
    signal,
  );
  const name = rows[0]?.owned === true ? "emcache" : "emcache_doctor";
  const make = name === "emcache" ? "" : `CREATE SCHEMA ${name};`;
  try {
    await untilAborted(
      client.query(
        `BEGIN; SET LOCAL lock_timeout = '2s'; ${make} CREATE TABLE ${name}.doctor_probe (id integer); ROLLBACK`,
      ),
      signal,
    );
    report.ok("privileges", "may create what the log needs");
  } catch (error) {
    signal.throwIfAborted();
    await untilAborted(client.query("ROLLBACK"), signal);
    report.fail(
      "privileges",
      `the user ${server.user_name} can't make the schema emcache: ${messageOf(error)}`,
      `As an administrator: GRANT CREATE ON DATABASE "${server.database}" TO "${server.user_name}"`,
    );
  }
}

/** A pooler in transaction mode takes LISTEN, and then no notification ever comes. */
async function checkListen(client: pg.Client, report: DoctorReport, signal: AbortSignal): Promise<void> {
  const heard = new Promise<true>((resolve) => client.once("notification", () => resolve(true)));
  const channel = `emcache_doctor_${process.pid}`;
  await untilAborted(client.query(`LISTEN ${channel}`), signal);
  await untilAborted(client.query(`NOTIFY ${channel}`), signal);
  const isHeard = await Promise.race([heard, pause(NOTIFY_TIMEOUT_MS, false, { ref: false, signal })]);
  if (isHeard) return report.ok("notifications", "LISTEN and NOTIFY work");
  report.warn(
    "notifications",
    "none arrives, as behind a pooler in transaction mode: processes see one another's commits only every cache.replication_interval",
    `Name the server itself in ${KEY}, or a pool in session mode.`,
  );
}
