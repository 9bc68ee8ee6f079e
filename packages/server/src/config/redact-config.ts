import { redactUri } from "../runtime/redact-uri.ts";
import type { Config } from "./config.ts";

/** The configuration as it may be shown: without passwords. */
export function redactConfig(config: Config): Config {
  const { postgres } = config.database;
  return {
    ...config,
    database: { postgres: { ...postgres, uri: redactUri(postgres.uri) } },
    sources: Object.fromEntries(
      Object.entries(config.sources).map(([name, source]) => [name, { ...source, uri: redactUri(source.uri) }]),
    ),
  };
}
