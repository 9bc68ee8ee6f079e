import {
  type DestinationStream,
  type Logger,
  destination as openDestination,
  pino,
  stdSerializers,
  stdTimeFunctions,
} from "pino";
import pretty from "pino-pretty";
import { type LevelSpec, parseLevelSpec } from "./level-spec.ts";
import { redactUri } from "./redact-uri.ts";

export type { Logger } from "pino";

/** Where a root logger keeps its level spec; children inherit it, because pino makes them with `Object.create`. */
const levelSpecKey = Symbol("levelSpec");

export interface LoggerOptions {
  /** `info`, or `info,source=debug`. */
  readonly level: string;
  /** Takes the JSON lines; default is standard output, there pretty if it is a terminal. */
  readonly destination?: DestinationStream;
}

/**
 * The process's root logger. Each line is a JSON object with `level` (by name), `time` (RFC 3339, UTC), a stable
 * `event`, and `msg`. Passwords in URIs are masked in the finished line, wherever in it they stand.
 */
export function createLogger({ level, destination }: LoggerOptions): Logger {
  const spec = parseLevelSpec(level);
  const logger = pino(
    {
      level: spec.level,
      base: null,
      timestamp: stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      serializers: { err: stdSerializers.err, error: stdSerializers.err },
      hooks: { streamWrite: redactUri },
    },
    destination ?? standardOutput(),
  );
  return Object.assign(logger, { [levelSpecKey]: spec });
}

/** The logger of one module: its lines carry `module`, and its level is the one that the spec gives this module. */
export function moduleLogger(logger: Logger, module: string): Logger {
  const spec = (logger as Logger & { readonly [levelSpecKey]?: LevelSpec })[levelSpecKey];
  const level = spec?.modules.get(module);
  return level === undefined ? logger.child({ module }) : logger.child({ module }, { level });
}

/** Written synchronously, so that the last words of a dying process arrive. */
function standardOutput(): DestinationStream {
  if (!process.stdout.isTTY) return openDestination({ dest: 1, sync: true });
  return pretty({ destination: 1, sync: true, ignore: "event", translateTime: "SYS:HH:MM:ss.l", singleLine: true });
}
