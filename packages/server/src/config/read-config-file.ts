import { readFileSync } from "node:fs";
import { TomlError, parse } from "smol-toml";
import { messageOf } from "../runtime/error-message.ts";
import { OPTIONS } from "./option-table.ts";
import { type Setting, type SettingsRead, isKnownKey, nearestKey } from "./setting.ts";
import { tomlKeyLines } from "./toml-key-lines.ts";

/** Reads the settings of one TOML file; `label` is what messages call it. Does not throw: see `mistakes`. */
export function readConfigFile(path: string, label: string): SettingsRead {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    return { settings: [], mistakes: [`${label}: can't be read: ${messageOf(error)}`] };
  }
  try {
    return settingsOf(parse(text), tomlKeyLines(text), label);
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    // The parser's message goes on with an excerpt, which may hold a password.
    const reason = error.message.split("\n")[0] ?? "";
    return { settings: [], mistakes: [`${label}:${error.line}: ${reason}`] };
  }
}

function settingsOf(document: object, lines: ReadonlyMap<string, number>, label: string): SettingsRead {
  const settings: Setting[] = [];
  const mistakes: string[] = [];
  const visit = (table: object, prefix: string): void => {
    for (const [name, value] of Object.entries(table) as [string, unknown][]) {
      const key = `${prefix}${name}`;
      const line = lines.get(key);
      const place = `${label}${line === undefined ? "" : `:${line}`}: ${key}`;
      if (isKnownKey(key)) settings.push({ key, value, isText: false, place });
      else if (isTable(value) && (Object.keys(value).length > 0 || isSection(key))) visit(value, `${key}.`);
      else mistakes.push(`${place}: ${unknownKeyMessage(key)}`);
    }
  };
  visit(document, "");
  return { settings, mistakes };
}

function unknownKeyMessage(key: string): string {
  if (/^sources\.[^.]+$/.test(key)) return "a source is a table with a name; write [sources.NAME] with a key uri";
  if (isSection(key)) return `is a section, not a value; write [${key}] on a line of its own`;
  return `unknown key; did you mean ${nearestKey(key)}?`;
}

function isSection(key: string): boolean {
  return (
    key === "sources" ||
    /^sources\.[^.]+$/.test(key) ||
    Object.keys(OPTIONS).some((option) => option.startsWith(`${key}.`))
  );
}

function isTable(value: unknown): value is object {
  return typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof Date);
}
