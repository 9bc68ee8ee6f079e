import type { Option } from "./option.ts";
import { OPTIONS, SOURCE_OPTIONS } from "./option-table.ts";

interface ObjectSchema {
  readonly type: "object";
  readonly additionalProperties: boolean | ObjectSchema;
  readonly description?: string;
  readonly properties: Record<string, unknown>;
  readonly required?: readonly string[];
}

/**
 * docs/config.schema.json: what an editor needs to complete and check config.toml (JSON Schema 2020-12; Taplo and Even
 * Better TOML read the file's first line `#:schema`).
 */
export function renderConfigSchema(): string {
  const root = {
    $schema: "https://json-schema.org/draft/2020-12/schema",
    title: "EMCache's config.toml",
    ...section(),
  };
  for (const [key, option] of Object.entries(OPTIONS)) {
    const names = key.split(".");
    const last = names.pop() ?? key;
    let place: ObjectSchema = root;
    for (const name of names) place = (place.properties[name] ??= section()) as ObjectSchema;
    place.properties[last] = schemaOf(option);
  }
  root.properties["sources"] = {
    ...section(),
    description: "The MongoDB databases, each under a name of its own",
    additionalProperties: sourceSection(),
  };
  return `${JSON.stringify(root, null, 2)}\n`;
}

function sourceSection(): ObjectSchema {
  const source = { ...section(), required: ["uri"] };
  for (const [name, option] of Object.entries(SOURCE_OPTIONS)) source.properties[name] = schemaOf(option);
  return source;
}

function section(): ObjectSchema {
  return { type: "object", additionalProperties: false, properties: {} };
}

function schemaOf(option: Option<unknown>): object {
  const { description, type, schema, example } = option;
  return {
    ...schema,
    description: `${description} (${type})`,
    ...(option.default === null ? {} : { default: option.default }),
    ...(example === undefined ? {} : { examples: [example] }),
  };
}
