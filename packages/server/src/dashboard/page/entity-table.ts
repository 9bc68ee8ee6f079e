import { h, Fragment, type ComponentChildren } from "preact";
import type { EntityStatus, ShownError } from "./api-types.ts";
import { EntityState } from "./entity-state.ts";
import { formatBytes, formatCount, formatDuration, formatRate } from "./format.ts";
import { RateChart } from "./rate-chart.ts";
import type { RateHistory } from "./rate-history.ts";
import { hrefOf } from "./route.ts";

const COLUMNS = ["Entity", "State", "Rows", "Lag", "Events/s", "Size", "Rejects"];
/** A minute in a row of the table. */
const CHART_POINTS = 60;

/** One row an entity, and below it what is wrong with it. */
export function EntityTable({
  entities,
  rates,
}: {
  readonly entities: readonly EntityStatus[];
  readonly rates: RateHistory;
}): ComponentChildren {
  return h(
    "section",
    { class: "panel", "aria-labelledby": "entities-title" },
    h("div", { class: "panel-head" }, h("h2", { id: "entities-title" }, "Entities")),
    h(
      "table",
      { class: "entities", role: "table" },
      h(
        "thead",
        { role: "rowgroup" },
        h(
          "tr",
          { role: "row" },
          COLUMNS.map((name, index) =>
            h("th", { key: name, role: "columnheader", scope: "col", class: index >= 2 ? "number" : "" }, name),
          ),
        ),
      ),
      h(
        "tbody",
        { role: "rowgroup" },
        entities.map((entity) => h(EntityRow, { key: entity.name, entity, rates })),
      ),
    ),
  );
}

function EntityRow({
  entity,
  rates,
}: {
  readonly entity: EntityStatus;
  readonly rates: RateHistory;
}): ComponentChildren {
  const points = rates.points(entity.id);
  return h(
    Fragment,
    null,
    h(
      "tr",
      { role: "row", class: "entity-row" },
      h(
        "th",
        { role: "rowheader", scope: "row" },
        h("a", { class: "entity-name", href: hrefOf({ kind: "entity", name: entity.name }) }, entity.name),
        h("div", { class: "muted small" }, `${entity.client} / ${entity.source}`),
      ),
      h("td", { role: "cell", "data-label": "State" }, h(EntityState, { entity })),
      h("td", { role: "cell", "data-label": "Rows", class: "number" }, formatCount(entity.rows)),
      h(
        "td",
        { role: "cell", "data-label": "Lag", class: "number" },
        formatDuration(entity.lag_ms),
        h("div", { class: "muted small" }, lagEntries(entity)),
      ),
      h(
        "td",
        { role: "cell", "data-label": "Events/s", class: "number rate" },
        h(
          "div",
          { class: "rate-cell" },
          h(RateChart, { points, span: CHART_POINTS }),
          h("span", { class: "rate-value" }, formatRate(rates.rate(entity.id))),
        ),
      ),
      h("td", { role: "cell", "data-label": "Size", class: "number" }, formatBytes(entity.size_bytes)),
      h(
        "td",
        { role: "cell", "data-label": "Rejects", class: `number ${(entity.rejects ?? 0) > 0 ? "warn" : ""}` },
        formatCount(entity.rejects),
      ),
    ),
    entity.last_error !== null && h(ErrorRow, { error: entity.last_error }),
    entity.pending !== null && h(PendingRow, { entity, rates }),
  );
}

function lagEntries({ lag_entries: entries }: EntityStatus): string {
  return entries === null || entries === 0 ? "" : `${formatCount(entries)} ${entries === 1 ? "entry" : "entries"}`;
}

function ErrorRow({ error }: { readonly error: ShownError }): ComponentChildren {
  return h(
    "tr",
    { role: "row", class: "sub-row" },
    h(
      "td",
      { role: "cell", colSpan: COLUMNS.length },
      h("div", { class: "error-text" }, h("code", { class: "code" }, error.code), " ", error.detail),
      error.hint !== "" && h("div", { class: "hint" }, error.hint),
    ),
  );
}

/** The changed version that is copied beside the served one. */
function PendingRow({
  entity,
  rates,
}: {
  readonly entity: EntityStatus;
  readonly rates: RateHistory;
}): ComponentChildren {
  const { pending } = entity;
  if (pending === null) return null;
  return h(
    "tr",
    { role: "row", class: "sub-row" },
    h(
      "td",
      { role: "cell", colSpan: COLUMNS.length },
      h(
        "div",
        { class: "pending" },
        h("span", { class: "muted" }, `version ${pending.id}, to replace ${entity.id}`),
        h(EntityState, { entity: pending }),
        h("span", null, `${formatCount(pending.rows)} rows, ${formatRate(rates.rate(pending.id))} /s`),
      ),
      pending.last_error !== null && h("div", { class: "error-text" }, pending.last_error.detail),
    ),
  );
}
