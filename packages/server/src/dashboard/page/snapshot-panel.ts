import type { SnapshotManifest } from "@emcache/protocol";
import { h, type ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import { type ApiError, getJson, sendJson } from "./api-client.ts";
import type { EntityStatus } from "./api-types.ts";
import { formatBytes, formatCount, formatDate } from "./format.ts";
import { ProblemText } from "./problem-text.ts";
import { usePolled } from "./use-polled.ts";

const INTERVAL_MS = 5000;

/** The entity's snapshots: the newest can be downloaded, a new one made. */
export function SnapshotPanel({ entity }: { readonly entity: EntityStatus }): ComponentChildren {
  const name = encodeURIComponent(entity.name);
  const [isMaking, setMaking] = useState(false);
  const [error, setError] = useState<ApiError | null>(null);
  const list = usePolled(`snapshots ${entity.name}`, INTERVAL_MS, (signal) =>
    getJson<readonly SnapshotManifest[]>(`/api/snapshots?entity=${name}`, signal),
  );
  const make = async (): Promise<void> => {
    setMaking(true);
    setError(null);
    try {
      await sendJson("POST", `/api/snapshots/${name}`);
      list.refresh();
    } catch (failure) {
      setError(failure as ApiError);
    } finally {
      setMaking(false);
    }
  };
  const snapshots = list.data ?? [];
  return h(
    "section",
    { class: "panel", "aria-labelledby": "snapshots-title" },
    h(
      "div",
      { class: "panel-head" },
      h("h2", { id: "snapshots-title" }, "Snapshots"),
      h(
        "button",
        { class: "button button-small", type: "button", disabled: isMaking, onClick: () => void make() },
        isMaking ? "Making …" : "Make one now",
      ),
    ),
    error !== null && h("div", { class: "pad" }, h(ProblemText, { error })),
    list.error !== null && h("p", { class: "error-text pad" }, list.error.message),
    snapshots.length === 0
      ? h("p", { class: "muted pad" }, "No snapshot yet. The first one is made when the first copy is complete.")
      : h(
          "ul",
          { class: "snapshots" },
          snapshots.map((manifest, index) => h(SnapshotItem, { key: manifest.id, manifest, isNewest: index === 0 })),
        ),
  );
}

function SnapshotItem({
  manifest,
  isNewest,
}: {
  readonly manifest: SnapshotManifest;
  readonly isNewest: boolean;
}): ComponentChildren {
  return h(
    "li",
    { class: "snapshot" },
    h(
      "div",
      null,
      h("div", null, formatDate(manifest.created_at)),
      h(
        "div",
        { class: "muted small" },
        `${formatCount(manifest.rows)} rows at position ${formatCount(manifest.position)} · ${formatBytes(manifest.size_bytes)}`,
      ),
      h(
        "div",
        { class: "muted small mono", title: `SHA-256 ${manifest.sha256}` },
        `sha256 ${manifest.sha256.slice(0, 16)}…`,
      ),
    ),
    isNewest &&
      h(
        "a",
        {
          class: "button button-small",
          href: `/api/snapshots/${encodeURIComponent(manifest.entity)}`,
          download: `${manifest.entity}.db`,
        },
        "Download",
      ),
  );
}
