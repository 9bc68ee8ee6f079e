import { isDeepStrictEqual } from "node:util";
import type { LoadedConfig } from "./load-config.ts";
import type { Option } from "./option.ts";
import { OPTIONS } from "./option-table.ts";

/** What a configuration that was read again has changed, by key. */
export interface ConfigChanges {
  /** A running process takes these over. */
  readonly reloadable: readonly string[];
  /** These take effect at the next start. */
  readonly waiting: readonly string[];
}

/** Compares a configuration with the one that is in force. */
export function configChanges(inForce: LoadedConfig, read: LoadedConfig): ConfigChanges {
  const keys = [...new Set([...inForce.values.keys(), ...read.values.keys()])];
  const changed = keys.filter((key) => !isDeepStrictEqual(inForce.values.get(key), read.values.get(key)));
  const options: Readonly<Record<string, Option<unknown>>> = OPTIONS;
  const isReloadable = (key: string): boolean => options[key]?.isReloadable === true;
  return { reloadable: changed.filter(isReloadable), waiting: changed.filter((key) => !isReloadable(key)) };
}
