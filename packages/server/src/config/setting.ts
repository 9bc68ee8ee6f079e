import { nearestName } from "./nearest-name.ts";
import type { WrittenValue } from "./option.ts";
import { OPTIONS, SOURCE_OPTIONS } from "./option-table.ts";

/** One setting as somebody wrote it, before it is checked. */
export interface Setting extends WrittenValue {
  /** Dotted key, with the source's name where it has one. */
  readonly key: string;
  /** Where it was written, for messages: `config.toml:3: server.port`, `EMCACHE_SERVER__PORT`, `--server.port`. */
  readonly place: string;
}

/** The settings that one place holds, and what was wrong there. */
export interface SettingsRead {
  readonly settings: readonly Setting[];
  readonly mistakes: readonly string[];
}

/** A key of a source, taken apart: `sources.main.uri`. Null for any other key. */
export function sourceKeyOf(key: string): { readonly name: string; readonly option: string } | null {
  const [, name, option] = /^sources\.(.+)\.([^.]+)$/.exec(key) ?? [];
  return name === undefined || option === undefined ? null : { name, option };
}

/** Whether there is an option of this key. */
export function isKnownKey(key: string): boolean {
  const source = sourceKeyOf(key);
  return source === null ? Object.hasOwn(OPTIONS, key) : Object.hasOwn(SOURCE_OPTIONS, source.option);
}

/** The known key that is closest to an unknown one; the keys of a source are offered with the name written. */
export function nearestKey(key: string): string | null {
  const name = sourceKeyOf(key)?.name ?? "NAME";
  const sourceKeys = Object.keys(SOURCE_OPTIONS).map((option) => `sources.${name}.${option}`);
  return nearestName(key, [...Object.keys(OPTIONS), ...sourceKeys]);
}
