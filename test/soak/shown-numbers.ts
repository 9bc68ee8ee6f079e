import type { EmcacheApi, EntityAnswer } from "../support/emcache-api.ts";

/** What EMCache says of an entity in its API and in `/metrics`. */
export interface ShownNumbers {
  readonly state: string;
  readonly rows: number | null;
  readonly rejects: number | null;
  readonly lagEntries: number | null;
  readonly metricRows: number | null;
  readonly metricRejects: number | null;
  readonly metricLagPositions: number | null;
}

/** Reads both for one entity. */
export async function shownNumbers(api: EmcacheApi, name: string): Promise<ShownNumbers> {
  const entities = await api.call<readonly EntityAnswer[]>("GET", "/api/entities");
  const entity = entities.find((one) => one.name === name);
  const { body } = await api.request("GET", "/metrics");
  const metrics = typeof body === "string" ? body : "";
  return {
    state: entity?.state ?? "missing",
    rows: entity?.rows ?? null,
    rejects: entity?.rejects ?? null,
    lagEntries: entity?.lag_entries ?? null,
    metricRows: metricOf(metrics, "emcache_entity_rows", name, 'stage="cache"'),
    metricRejects: metricOf(metrics, "emcache_entity_rejects", name),
    metricLagPositions: metricOf(metrics, "emcache_entity_lag_positions", name),
  };
}

/** The value of the first sample of a metric that has the entity's label, and this one; null where there is none. */
function metricOf(text: string, metric: string, entity: string, label = ""): number | null {
  const isIt = (line: string): boolean =>
    line.startsWith(`${metric}{`) && line.includes(`entity="${entity}"`) && line.includes(label);
  const line = text.split("\n").find(isIt);
  return line === undefined ? null : Number(line.slice(line.lastIndexOf(" ") + 1));
}
