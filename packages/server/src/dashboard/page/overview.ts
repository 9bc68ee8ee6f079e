import { h, type ComponentChildren } from "preact";
import type { EntityStatus, Health } from "./api-types.ts";
import { EntityTable } from "./entity-table.ts";
import { formatCount, formatDuration, formatRate } from "./format.ts";
import { HealthPanel } from "./health-panel.ts";
import { RateChart } from "./rate-chart.ts";
import { type RateHistory, smoothed } from "./rate-history.ts";
import { hrefOf } from "./route.ts";

interface OverviewProps {
  readonly entities: readonly EntityStatus[];
  readonly health: Health | null;
  readonly rates: RateHistory;
}

/** All of it on one screen: figures, entities, parts. What is wrong stands first. */
export function Overview({ entities, health, rates }: OverviewProps): ComponentChildren {
  const isDegraded = health?.status === "degraded";
  return h(
    "div",
    { class: "stack" },
    h("h1", { class: "sr-only" }, "Overview"),
    isDegraded && h(HealthPanel, { health }),
    h(Figures, { entities, rates }),
    entities.length === 0 ? h(NoEntities, null) : h(EntityTable, { entities, rates }),
    !isDegraded && health !== null && h(HealthPanel, { health }),
  );
}

function Figures({
  entities,
  rates,
}: {
  readonly entities: readonly EntityStatus[];
  readonly rates: RateHistory;
}): ComponentChildren {
  const live = entities.filter(({ state }) => state === "live").length;
  const total = rates.total();
  const lags = entities.flatMap(({ lag_ms: lagMs }) => (lagMs === null ? [] : [lagMs]));
  return h(
    "section",
    { class: "figures", "aria-label": "Figures" },
    h(Figure, {
      label: "Entities",
      value: formatCount(entities.length),
      note: entities.length === live ? "all live" : `${live} live`,
    }),
    h(Figure, { label: "Rows", value: formatCount(sumOf(entities.map(({ rows }) => rows))) }),
    h(Figure, { label: "Highest lag", value: formatDuration(lags.length === 0 ? null : Math.max(...lags)) }),
    h(Figure, { label: "Rejects", value: formatCount(sumOf(entities.map(({ rejects }) => rejects))) }),
    h(
      Figure,
      { label: "Events/s", value: formatRate(smoothed(total)), class: "figure-wide" },
      h(RateChart, { points: total, span: 120, hasScale: true }),
    ),
  );
}

/** One number with its name. */
export function Figure(props: {
  readonly label: string;
  readonly value: string;
  readonly note?: string;
  readonly class?: string;
  readonly children?: ComponentChildren;
}): ComponentChildren {
  return h(
    "div",
    { class: `figure ${props.class ?? ""}` },
    h(
      "div",
      { class: "figure-text" },
      h("div", { class: "figure-label" }, props.label),
      h("div", { class: "figure-value" }, props.value),
      props.note !== undefined && h("div", { class: "figure-note" }, props.note),
    ),
    props.children,
  );
}

function NoEntities(): ComponentChildren {
  return h(
    "section",
    { class: "panel empty" },
    h("h2", null, "No entities yet"),
    h(
      "p",
      null,
      "An entity maps one MongoDB collection to one SQLite table. Its copy begins as soon as it is created.",
    ),
    h("p", null, h("a", { class: "button button-main", href: hrefOf({ kind: "new" }) }, "Create the first one")),
  );
}

function sumOf(values: readonly (number | null)[]): number | null {
  const known = values.filter((value) => value !== null);
  return known.length === 0 && values.length > 0 ? null : known.reduce((sum, value) => sum + value, 0);
}
