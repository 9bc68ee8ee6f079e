import { h, type ComponentChildren } from "preact";
import type { VersionStatus } from "./api-types.ts";
import { StatusDot } from "./status-dot.ts";

/** The state in a word, and how far a running copy is. */
export function EntityState({ entity }: { readonly entity: VersionStatus }): ComponentChildren {
  return h(
    "div",
    { class: "state" },
    h(StatusDot, stateOf(entity)),
    entity.percent !== null && h(CopyBar, { percent: entity.percent, name: entity.name }),
  );
}

function stateOf(entity: VersionStatus): Parameters<typeof StatusDot>[0] {
  const { state, last_error: error, percent, copy_paused: isPaused } = entity;
  if (state === "failed" || state === "stopped") return { kind: "bad", text: state };
  if (state === "stale") return { kind: "warn", text: "stale" };
  if (state === "copying")
    return isPaused === true ? { kind: "warn", text: "copy paused" } : { kind: "busy", text: "copying" };
  if (error !== null) return { kind: "warn", text: "live, stalled" };
  return percent === null ? { kind: "good", text: "live" } : { kind: "good", text: "live, copying anew" };
}

function CopyBar({ percent, name }: { readonly percent: number; readonly name: string }): ComponentChildren {
  return h(
    "div",
    { class: "copy" },
    h("progress", { max: 100, value: percent, "aria-label": `Copy of ${name}` }),
    h("span", { class: "copy-percent" }, `${percent.toFixed(1)} %`),
  );
}
