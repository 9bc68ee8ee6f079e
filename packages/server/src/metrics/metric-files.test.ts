import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { METRICS, type MetricDefinition } from "./metric-table.ts";

const ALERTS = "deploy/prometheus/alerts.yml";
const ALERT_TESTS = "deploy/prometheus/alerts.test.yml";
const DASHBOARD = "deploy/grafana/emcache.json";

/** Labels that Prometheus adds, and that of a histogram's buckets. */
const OTHER_LABELS = ["instance", "job", "le"];

function textOf(file: string): string {
  return readFileSync(fileURLToPath(new URL(`../../../../${file}`, import.meta.url)), "utf8").replaceAll('\\"', '"');
}

function definitionOf(name: string): MetricDefinition | undefined {
  const own: Readonly<Record<string, MetricDefinition>> = METRICS;
  const base = name.replace(/_(bucket|sum|count)$/, "");
  return own[name] ?? (own[base]?.type === "histogram" ? own[base] : undefined);
}

test.each([ALERTS, ALERT_TESTS, DASHBOARD])("%s names metrics and labels of the table only", (file) => {
  const uses = [...textOf(file).matchAll(/\b(emcache_[a-z_]+)(?:\{([^}]*)\})?/g)];
  expect(uses.length).toBeGreaterThan(20);
  for (const [, name = "", selector = ""] of uses) {
    const definition = definitionOf(name);
    expect(definition, `${file} names ${name}`).toBeDefined();
    const labels = [...selector.matchAll(/([a-z]+)\s*(?:=|!=|=~|!~)"/g)].map(([, label]) => label ?? "");
    for (const label of labels) {
      expect([...(definition?.labels ?? []), ...OTHER_LABELS], `${name} in ${file}`).toContain(label);
    }
  }
});

test("every rule has a test in which it fires", () => {
  const rules = [...textOf(ALERTS).matchAll(/- alert: (\w+)/g)].map(([, name]) => name);
  const fired = [...textOf(ALERT_TESTS).matchAll(/\{alertname="(\w+)"\}/g)].map(([, name]) => name);
  expect(new Set(fired)).toEqual(new Set(rules));
});

test("the operator's document says what to do about each alert, and names metrics that there are", () => {
  const [, text = ""] = /^## Seeing how it is\n(.*?)^## /ms.exec(textOf("docs/05-operations.md")) ?? [];
  for (const [, name = ""] of textOf(ALERTS).matchAll(/- alert: (\w+)/g)) expect(text).toContain(`\`${name}\``);
  for (const [, name = ""] of text.matchAll(/\b(emcache_[a-z_]+)[`{]/g)) expect(definitionOf(name), name).toBeDefined();
});

test("every metric is on the dashboard or in a rule, but those that only tell what is there", () => {
  const text = textOf(ALERTS) + textOf(DASHBOARD);
  const unused = Object.keys(METRICS).filter((name) => !text.includes(name));
  expect(unused).toEqual([
    "emcache_log_head_position",
    "emcache_log_floor_position",
    "emcache_source_checkpoint_timestamp_seconds",
    "emcache_entity_rows",
  ]);
});
