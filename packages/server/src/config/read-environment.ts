import { readFileSync } from "node:fs";
import { messageOf } from "../runtime/error-message.ts";
import { parseLevelSpec } from "../runtime/level-spec.ts";
import { editDistance, nearestName } from "./nearest-name.ts";
import { OPTIONS, SOURCE_OPTIONS, environmentName } from "./option-table.ts";
import { type Setting, type SettingsRead, sourceKeyOf } from "./setting.ts";

/** Names with this prefix belong to the tests. */
const TEST_PREFIX = "EMCACHE_TEST_";

/** Names the configuration file. */
export const CONFIG_FILE_VARIABLE = "EMCACHE_CONFIG";

/** How far a name without a section may be from a known one to be taken for a slip of the pen. */
const SLIP_EDITS_MAX = 2;

/**
 * Reads the settings in environment variables. An empty variable counts as not set. A name is taken for ours, and is
 * a mistake if unknown, when it starts with `EMCACHE_` and has a `__`, or is nearly a known one. Others are left alone:
 * Kubernetes sets `EMCACHE_PORT=tcp://…` for a service that is called emcache.
 *
 * @param sourceNames the sources known from the file: a variable's name matches one of them in any case of letters.
 */
export function readEnvironment(env: NodeJS.ProcessEnv, sourceNames: readonly string[]): SettingsRead {
  const settings: Setting[] = rustLogSetting(env);
  const mistakes: string[] = [];
  const keys = new Map(Object.keys(OPTIONS).map((key) => [environmentName(key), key]));
  const secretNames = [...keys].filter(([, key]) => isSecretKey(key)).map(([name]) => `${name}_FILE`);

  for (const variable of Object.keys(env).toSorted()) {
    const text = env[variable];
    if (!variable.startsWith("EMCACHE_") || variable.startsWith(TEST_PREFIX)) continue;
    if (text === undefined || text === "" || variable === CONFIG_FILE_VARIABLE) continue;
    const isFile = variable.endsWith("_FILE");
    const name = isFile ? variable.slice(0, -"_FILE".length) : variable;
    const key = keys.get(name) ?? sourceKey(name, sourceNames);
    if (key === null || (isFile && !isSecretKey(key))) {
      const nearest = nearestName(variable, [...keys.keys(), ...secretNames, ...sourceVariables(variable)]) ?? "";
      const isOurs = variable.includes("__") || editDistance(variable, nearest) <= SLIP_EDITS_MAX;
      if (isOurs) mistakes.push(`${variable}: unknown variable; did you mean ${nearest}?`);
    } else if (!isFile) {
      settings.push({ key, value: text, isText: true, place: variable });
    } else if ((env[name] ?? "") !== "") {
      mistakes.push(`${variable}: ${name} is set too; set one of them`);
    } else {
      try {
        settings.push({ key, value: readFileSync(text, "utf8").trim(), isText: true, place: variable });
      } catch (error) {
        mistakes.push(`${variable}: can't be read: ${messageOf(error)}`);
      }
    }
  }
  return { settings, mistakes };
}

/** `RUST_LOG` as EMCache's earlier version took it. It may be meant for another program: one we can't read is no mistake. */
function rustLogSetting(env: NodeJS.ProcessEnv): Setting[] {
  const value = env["RUST_LOG"] ?? "";
  try {
    parseLevelSpec(value);
  } catch {
    return [];
  }
  return [{ key: "logging.level", value, isText: true, place: "RUST_LOG" }];
}

function sourceKey(variable: string, sourceNames: readonly string[]): string | null {
  const [, written, option] = /^EMCACHE_SOURCES__(.+)__([A-Z]+)$/.exec(variable) ?? [];
  if (written === undefined || option === undefined || !Object.hasOwn(SOURCE_OPTIONS, option.toLowerCase()))
    return null;
  const known = sourceNames.find((name) => name.replaceAll("-", "_").toLowerCase() === written.toLowerCase());
  return `sources.${known ?? written.toLowerCase()}.${option.toLowerCase()}`;
}

function sourceVariables(variable: string): string[] {
  const name = /^EMCACHE_SOURCES__(.+)__/.exec(variable)?.[1] ?? "NAME";
  return Object.keys(SOURCE_OPTIONS).map((option) => environmentName(`sources.${name}.${option}`));
}

function isSecretKey(key: string): boolean {
  const option = sourceKeyOf(key)?.option;
  const entry = Object.entries(option === undefined ? OPTIONS : SOURCE_OPTIONS).find(
    ([name]) => name === (option ?? key),
  );
  return entry?.[1].isSecret === true;
}
