import { h, type ComponentChildren } from "preact";
import type { Health } from "./api-types.ts";
import { hrefOf } from "./route.ts";
import { StatusDot } from "./status-dot.ts";
import { ThemeSwitch } from "./theme-switch.ts";

/** Name, overall health, theme, and the way to a new entity. */
export function Header({
  health,
  isOffline,
}: {
  readonly health: Health | null;
  readonly isOffline: boolean;
}): ComponentChildren {
  return h(
    "header",
    { class: "header" },
    h(
      "div",
      { class: "header-row" },
      h(
        "a",
        { class: "brand", href: hrefOf({ kind: "overview" }) },
        h("span", { class: "brand-mark", "aria-hidden": "true" }),
        "EMCache",
      ),
      h("div", { class: "header-status", role: "status" }, overall(health, isOffline)),
      h(
        "div",
        { class: "header-actions" },
        h(ThemeSwitch, null),
        h("a", { class: "button button-main", href: hrefOf({ kind: "new" }) }, "New entity"),
      ),
    ),
  );
}

function overall(health: Health | null, isOffline: boolean): ComponentChildren {
  if (isOffline) return h(StatusDot, { kind: "bad", text: "unreachable" });
  if (health === null) return h(StatusDot, { kind: "idle", text: "…" });
  const parts = Object.values(health.components);
  const bad = parts.filter(({ status }) => status !== "healthy").length;
  if (health.status === "healthy") return h(StatusDot, { kind: "good", text: "healthy" });
  return h(StatusDot, { kind: "warn", text: `degraded: ${bad} of ${parts.length} parts` });
}
