import { h, Fragment, type ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import { type ApiError, sendJson } from "./api-client.ts";
import type { EntityStatus } from "./api-types.ts";
import { DeleteDialog } from "./delete-dialog.ts";
import { EntityState } from "./entity-state.ts";
import { formatBytes, formatCount, formatDuration, formatRate } from "./format.ts";
import { LiveTail } from "./live-tail.ts";
import { Figure } from "./overview.ts";
import { ProblemText } from "./problem-text.ts";
import { RateChart } from "./rate-chart.ts";
import type { RateHistory } from "./rate-history.ts";
import { RejectPanel } from "./reject-panel.ts";
import { hrefOf, navigate } from "./route.ts";
import { ShapePanel } from "./shape-panel.ts";
import { SnapshotPanel } from "./snapshot-panel.ts";

interface EntityViewProps {
  readonly name: string;
  readonly entity: EntityStatus | null;
  readonly rates: RateHistory;
  readonly onChange: () => void;
}

/** All about one entity. */
export function EntityView({ name, entity, rates, onChange }: EntityViewProps): ComponentChildren {
  if (entity === null) {
    return h(
      "div",
      { class: "stack" },
      h(Breadcrumb, { name }),
      h(
        "section",
        { class: "panel empty" },
        h("h1", null, `There is no entity ${name}`),
        h("p", null, h("a", { href: hrefOf({ kind: "overview" }) }, "All entities")),
      ),
    );
  }
  return h(
    "div",
    { class: "stack" },
    h(EntityHead, { entity, onChange }),
    entity.last_error !== null &&
      h(
        "div",
        { class: "notice notice-bad", role: "alert" },
        h("strong", null, entity.last_error.detail),
        h("div", { class: "hint" }, entity.last_error.hint),
      ),
    h(EntityFigures, { entity, rates }),
    h(
      "div",
      { class: "columns" },
      h("div", { class: "stack" }, h(LiveTail, { key: String(entity.id), entity }), h(RejectPanel, { entity })),
      h("div", { class: "stack" }, h(ShapePanel, { entity }), h(SnapshotPanel, { entity })),
    ),
  );
}

function Breadcrumb({ name }: { readonly name: string }): ComponentChildren {
  return h(
    "nav",
    { class: "breadcrumb", "aria-label": "Breadcrumb" },
    h("a", { href: hrefOf({ kind: "overview" }) }, "Entities"),
    h("span", { "aria-hidden": "true" }, "/"),
    h("span", { "aria-current": "page" }, name),
  );
}

function EntityHead({
  entity,
  onChange,
}: {
  readonly entity: EntityStatus;
  readonly onChange: () => void;
}): ComponentChildren {
  const [isDeleting, setDeleting] = useState(false);
  const [error, setError] = useState<ApiError | null>(null);
  const remove = async (): Promise<void> => {
    setDeleting(false);
    try {
      await sendJson("DELETE", `/api/entities/${encodeURIComponent(entity.name)}`);
      onChange();
      navigate({ kind: "overview" });
    } catch (failure) {
      setError(failure as ApiError);
    }
  };
  return h(
    Fragment,
    null,
    h(Breadcrumb, { name: entity.name }),
    h(
      "div",
      { class: "title-row" },
      h("div", { class: "title" }, h("h1", null, entity.name), h(EntityState, { entity })),
      h(
        "div",
        { class: "actions" },
        h("a", { class: "button", href: hrefOf({ kind: "edit", name: entity.name }) }, "Change shape"),
        h("button", { class: "button button-danger", type: "button", onClick: () => setDeleting(true) }, "Delete"),
      ),
    ),
    entity.pending !== null &&
      h(
        "div",
        { class: "notice" },
        h(
          "div",
          { class: "pending" },
          `Version ${entity.pending.id} is being copied and will replace this one.`,
          h(EntityState, { entity: entity.pending }),
        ),
      ),
    error !== null && h(ProblemText, { error }),
    isDeleting &&
      h(DeleteDialog, { name: entity.name, onCancel: () => setDeleting(false), onConfirm: () => void remove() }),
  );
}

function EntityFigures({
  entity,
  rates,
}: {
  readonly entity: EntityStatus;
  readonly rates: RateHistory;
}): ComponentChildren {
  const lag = entity.lag_entries ?? 0;
  return h(
    "section",
    { class: "figures", "aria-label": "Figures" },
    h(Figure, { label: "Rows", value: formatCount(entity.rows), note: formatBytes(entity.size_bytes) }),
    h(Figure, {
      label: "Lag",
      value: formatDuration(entity.lag_ms),
      note: lag === 0 ? "no entries behind" : `${formatCount(lag)} entries behind`,
    }),
    h(Figure, { label: "Log position", value: formatCount(entity.position), note: `version ${entity.id}` }),
    h(Figure, {
      label: "Rejects",
      value: formatCount(entity.rejects),
      note: entity.rejects === 0 ? "every value fits" : "",
    }),
    h(
      Figure,
      { label: "Events/s", value: formatRate(rates.rate(entity.id)), class: "figure-wide" },
      h(RateChart, { points: rates.points(entity.id), span: 120, hasScale: true }),
    ),
  );
}
