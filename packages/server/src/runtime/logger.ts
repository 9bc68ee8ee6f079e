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

/** Where a root logger keeps what its module loggers are; children inherit it, because pino makes them with `Object.create`. */
const modulesKey = Symbol("modules");

interface Modules {
  spec: LevelSpec;
  readonly loggers: { readonly module: string; readonly logger: Logger }[];
}

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
  const modules: Modules = { spec, loggers: [] };
  return Object.assign(logger, { [modulesKey]: modules });
}

/** The logger of one module: its lines carry `module`, and its level is the one that the spec gives this module. */
export function moduleLogger(logger: Logger, module: string): Logger {
  const modules = modulesOf(logger);
  const level = modules?.spec.modules.get(module);
  const child = level === undefined ? logger.child({ module }) : logger.child({ module }, { level });
  modules?.loggers.push({ module, logger: child });
  return child;
}

/**
 * Another level spec for a root logger and for its module loggers, from their next line on.
 *
 * @throws RangeError that says what would be right
 */
export function setLogLevels(logger: Logger, level: string): void {
  const spec = parseLevelSpec(level);
  logger.level = spec.level;
  const modules = modulesOf(logger);
  if (modules === null) return;
  modules.spec = spec;
  for (const { module, logger: child } of modules.loggers) child.level = spec.modules.get(module) ?? spec.level;
}

function modulesOf(logger: Logger): Modules | null {
  return (logger as Logger & { readonly [modulesKey]?: Modules })[modulesKey] ?? null;
}

/** Written synchronously, so that the last words of a dying process arrive. */
function standardOutput(): DestinationStream {
  if (!process.stdout.isTTY) return openDestination({ dest: 1, sync: true });
  return pretty({ destination: 1, sync: true, ignore: "event", translateTime: "SYS:HH:MM:ss.l", singleLine: true });
}
