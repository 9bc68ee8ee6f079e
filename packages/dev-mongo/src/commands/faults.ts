import { type BsonDocument, isDocument, isTruthy, numberOf } from "../bson/codec.ts";
import { CommandError } from "../command-error.ts";
import type { CommandFault } from "../faults/fault-injector.ts";
import {
  type CommandContext,
  type CommandDefinition,
  type Reply,
  documentArgument,
  numberArgument,
} from "./command.ts";

/**
 * The fault injector as an admin command, for tests whose server is another process:
 * `{emcacheFault: "stepDown", durationMs: 500}`, `{emcacheFault: "failCommands", commands: ["getMore"], code: 11602,
 * labels: […], times: 2}` and so on, named as the injector's methods are.
 */
function emcacheFault({ body, server }: CommandContext): Reply {
  const { faults } = server;
  switch (body["emcacheFault"]) {
    case "failCommands":
      faults.failCommands(commandFaultOf(body));
      return {};
    case "closeConnections":
      setImmediate(() => faults.closeConnections());
      return {};
    case "freeze": {
      const durationMs = numberArgument(body, "durationMs", 1_000);
      faults.freeze();
      // A frozen server can't be asked to thaw.
      setTimeout(() => faults.thaw(), durationMs);
      return {};
    }
    case "stepDown":
      faults.stepDown(numberArgument(body, "durationMs", 1_000));
      return {};
    case "loseHistory":
      faults.loseHistory();
      return {};
    case "rollBack": {
      const writes = numberArgument(body, "writes", 1);
      setImmediate(() => faults.rollBack(writes));
      return {};
    }
    case "holdStreams":
      faults.holdStreams();
      return {};
    case "releaseStreams":
      faults.releaseStreams();
      return {};
    case "scanMode":
      faults.scanMode = scanModeOf(body);
      return {};
    case "fragments":
      faults.fragments = fragmentFaultOf(body);
      return {};
    case "reset":
      faults.reset();
      return {};
    default:
      throw new CommandError(9, `there is no fault named ${String(body["emcacheFault"])}`);
  }
}

function scanModeOf(body: BsonDocument): CommandContext["server"]["faults"]["scanMode"] {
  switch (body["mode"]) {
    case "live":
    case "snapshot":
      return { kind: body["mode"] };
    case "readAhead":
      return { kind: "readAhead", documents: numberArgument(body, "documents", 1_000) };
    default:
      throw new CommandError(9, "mode must be 'live', 'snapshot' or 'readAhead'");
  }
}

function fragmentFaultOf(body: BsonDocument): CommandContext["server"]["faults"]["fragments"] {
  if (body["kind"] === "repeat") return { kind: "repeat" };
  if (body["kind"] === "drop") return { kind: "drop", count: numberArgument(body, "count", 1) };
  return null;
}

function stringsOf(value: unknown): string[] {
  return Array.isArray(value) ? value.filter((item): item is string => typeof item === "string") : [];
}

function commandFaultOf(body: BsonDocument): CommandFault {
  const { code, message, collection, delayMs, writeConcernError } = body;
  return {
    ...(body["commands"] === undefined ? {} : { commands: stringsOf(body["commands"]) }),
    times: numberArgument(body, "times", 1),
    ...(typeof collection === "string" ? { collection } : {}),
    ...(code === undefined ? {} : { code: numberOf(code) ?? 8 }),
    ...(typeof message === "string" ? { message } : {}),
    labels: stringsOf(body["labels"]),
    isExecuted: isTruthy(body["isExecuted"]),
    closesConnection: isTruthy(body["closesConnection"]),
    ...(delayMs === undefined ? {} : { delayMs: numberOf(delayMs) ?? 0 }),
    ...(isDocument(writeConcernError) ? { writeConcernError: concernErrorOf(writeConcernError) } : {}),
  };
}

function concernErrorOf(error: BsonDocument): { code: number; message: string } {
  const message = error["errmsg"] ?? error["message"];
  return { code: numberOf(error["code"]) ?? 64, message: typeof message === "string" ? message : "waiting failed" };
}

/** MongoDB's own fail point "failCommand", as the drivers' specification tests use it. */
function configureFailPoint(context: CommandContext): Reply {
  const { body, server } = context;
  if (body["configureFailPoint"] !== "failCommand")
    throw new CommandError(2, "only the fail point failCommand is served");
  const { mode } = body;
  if (mode === "off") {
    server.faults.reset();
    return {};
  }
  const times = isDocument(mode) ? (numberOf(mode["times"]) ?? 1) : Infinity;
  const data = documentArgument(body, "data");
  const { errorCode, writeConcernError } = data;
  server.faults.failCommands({
    commands: stringsOf(data["failCommands"]),
    times,
    ...(errorCode === undefined
      ? {}
      : { code: numberOf(errorCode) ?? 8, message: "Failing command via 'failCommand' failpoint" }),
    labels: stringsOf(data["errorLabels"]),
    closesConnection: isTruthy(data["closeConnection"]),
    ...(isTruthy(data["blockConnection"]) ? { delayMs: numberOf(data["blockTimeMS"]) ?? 0 } : {}),
    ...(isDocument(writeConcernError) ? { writeConcernError: concernErrorOf(writeConcernError) } : {}),
  });
  return {};
}

function replSetStepDown({ body, server, name }: CommandContext): Reply {
  const seconds = numberOf(body[name]) ?? 60;
  server.stepDown(seconds * 1000);
  return {};
}

export const faultCommands: Readonly<Record<string, CommandDefinition>> = {
  emcacheFault: { run: emcacheFault, isAlwaysServed: true },
  configureFailPoint: { run: configureFailPoint, isAlwaysServed: true },
  replSetStepDown: { run: replSetStepDown, isAlwaysServed: true },
};
