import { h, type ComponentChildren } from "preact";

export type StatusKind = "good" | "busy" | "warn" | "bad" | "idle";

/** A state: its colour and, for whoever sees none, its word. */
export function StatusDot({ kind, text }: { readonly kind: StatusKind; readonly text: string }): ComponentChildren {
  return h("span", { class: `status status-${kind}` }, h("span", { class: "dot", "aria-hidden": "true" }), text);
}
