/** Levels of the log, from the most to the least talkative. */
export const LOG_LEVELS = ["trace", "debug", "info", "warn", "error", "fatal", "silent"] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

/** What is logged: a level for all, and other levels for single modules. */
export interface LevelSpec {
  readonly level: LogLevel;
  readonly modules: ReadonlyMap<string, LogLevel>;
}

const ALIASES = new Map<string, LogLevel>([
  ["warning", "warn"],
  ["off", "silent"],
]);

/**
 * Reads `info` or `info,source=debug,oplog=trace`. The forms of `RUST_LOG` that EMCache's earlier version took mean
 * the same here: `emcache=debug` is `debug`, `emcache::source=debug` is `source=debug`.
 *
 * @throws RangeError that says what would be right.
 */
export function parseLevelSpec(spec: string): LevelSpec {
  let level: LogLevel = "info";
  const modules = new Map<string, LogLevel>();
  for (const part of spec.split(",").map((text) => text.trim())) {
    const separator = part.lastIndexOf("=");
    const parsed = parseLevel(part.slice(separator + 1));
    const module = separator === -1 ? "emcache" : part.slice(0, separator).trim();
    if (module === "") throw new RangeError(`"${part}" names no module; write for example "info,source=debug"`);
    if (module === "emcache") level = parsed;
    else modules.set(module.replace(/^emcache::/, "").replaceAll("::", "."), parsed);
  }
  return { level, modules };
}

function parseLevel(text: string): LogLevel {
  const name = text.trim().toLowerCase();
  const level = ALIASES.get(name) ?? LOG_LEVELS.find((candidate) => candidate === name);
  if (level !== undefined) return level;
  throw new RangeError(
    `"${text}" is no level; expected one of ${LOG_LEVELS.join(", ")}, for single modules too as in "info,source=debug"`,
  );
}
