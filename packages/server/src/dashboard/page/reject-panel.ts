import { h, type ComponentChildren } from "preact";
import { getJson } from "./api-client.ts";
import type { EntityStatus, Reject } from "./api-types.ts";
import { formatCount, formatDate } from "./format.ts";
import { usePolled } from "./use-polled.ts";

const INTERVAL_MS = 5000;
const SHOWN_MAX = 50;

/** Values and documents that could not be mapped, newest first. */
export function RejectPanel({ entity }: { readonly entity: EntityStatus }): ComponentChildren {
  const path = `/api/entities/${encodeURIComponent(entity.name)}/rejects?limit=${SHOWN_MAX}`;
  const rejects = usePolled(`rejects ${entity.id}`, INTERVAL_MS, (signal) => getJson<readonly Reject[]>(path, signal));
  const shown = rejects.data ?? [];
  return h(
    "section",
    { class: "panel", "aria-labelledby": "rejects-title" },
    h(
      "div",
      { class: "panel-head" },
      h("h2", { id: "rejects-title" }, "Rejects"),
      h(
        "span",
        { class: "muted small" },
        shown.length < (entity.rejects ?? 0) ? `${shown.length} of ${formatCount(entity.rejects)}` : "",
      ),
    ),
    rejects.error !== null && h("p", { class: "error-text pad" }, rejects.error.message),
    shown.length === 0
      ? h("p", { class: "muted pad" }, "Every value fits its column.")
      : h(
          "div",
          { class: "scroll", tabIndex: 0, role: "region", "aria-labelledby": "rejects-title" },
          h(RejectTable, { rejects: shown }),
        ),
  );
}

function RejectTable({ rejects }: { readonly rejects: readonly Reject[] }): ComponentChildren {
  const names = ["Id", "Column", "Reason", "Value", "Seen"];
  return h(
    "table",
    { class: "plain" },
    h(
      "thead",
      null,
      h(
        "tr",
        null,
        names.map((name) => h("th", { key: name, scope: "col" }, name)),
      ),
    ),
    h(
      "tbody",
      null,
      rejects.map((reject) =>
        h(
          "tr",
          { key: `${reject.doc_id} ${reject.column ?? ""} ${reject.reason}` },
          h("td", { class: "mono" }, reject.doc_id),
          h("td", { class: "mono" }, reject.column ?? ""),
          h("td", null, reject.reason),
          h("td", { class: "mono" }, reject.sample),
          h("td", { class: "muted", title: formatDate(reject.last_seen_at) }, `${formatCount(reject.seen_count)} ×`),
        ),
      ),
    ),
  );
}
