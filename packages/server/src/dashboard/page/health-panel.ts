import { h, type ComponentChildren } from "preact";
import type { ComponentHealth, Health } from "./api-types.ts";
import { formatAgo, formatDate } from "./format.ts";
import { StatusDot, type StatusKind } from "./status-dot.ts";

const KINDS: Readonly<Record<ComponentHealth["status"], StatusKind>> = {
  healthy: "good",
  degraded: "bad",
  stopped: "idle",
};

/** The parts of the process; those that are not well first, with the reason and what to do. */
export function HealthPanel({ health }: { readonly health: Health }): ComponentChildren {
  const parts = Object.entries(health.components);
  const ill = parts.filter(([, { status }]) => status !== "healthy");
  const well = parts.filter(([, { status }]) => status === "healthy");
  const nowMs = Date.parse(health.timestamp);
  return h(
    "section",
    { class: "panel", "aria-labelledby": "health-title" },
    h("div", { class: "panel-head" }, h("h2", { id: "health-title" }, "Health")),
    h(
      "ul",
      { class: "parts" },
      ill.map(([name, part]) => h(IllPart, { key: name, name, part, nowMs })),
      well.map(([name, part]) =>
        h(
          "li",
          { key: name, class: "part" },
          h(StatusDot, { kind: KINDS[part.status], text: name }),
          h("span", { class: "muted", title: formatDate(part.since) }, formatAgo(part.since, nowMs)),
        ),
      ),
    ),
  );
}

function IllPart({
  name,
  part,
  nowMs,
}: {
  readonly name: string;
  readonly part: ComponentHealth;
  readonly nowMs: number;
}): ComponentChildren {
  return h(
    "li",
    { class: "part part-ill" },
    h(
      "div",
      { class: "part-line" },
      h(StatusDot, { kind: KINDS[part.status], text: name }),
      h("span", { class: "muted", title: formatDate(part.since) }, part.status, " for ", formatAgo(part.since, nowMs)),
      part.code !== null && h("code", { class: "code" }, part.code),
    ),
    part.reason !== null && h("p", { class: "part-reason" }, part.reason),
    part.hint !== null && h("p", { class: "hint" }, part.hint),
    part.retry !== undefined &&
      h("p", { class: "muted small", title: formatDate(part.retry.next_try_at) }, retryText(part.retry)),
  );
}

function retryText({ attempt, next_try_at }: NonNullable<ComponentHealth["retry"]>): string {
  return `${attempt === 1 ? "First failure" : `${attempt} failures in a row`}; next try at ${next_try_at.slice(11, 19)} UTC`;
}
