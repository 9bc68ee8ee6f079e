import type { OplogEntry } from "@emcache/protocol";
import { h, type ComponentChildren } from "preact";
import { useRef, useState } from "preact/hooks";
import { ApiError, getJson } from "./api-client.ts";
import type { EntityStatus, OplogAnswer } from "./api-types.ts";
import { formatCount, formatTime } from "./format.ts";
import { usePolled } from "./use-polled.ts";

const INTERVAL_MS = 1000;
const SHOWN_MAX = 100;
/** Entries of one reading; where more came, the page goes on at the end of the log. */
const READ_MAX = 200;
/** How far before the end of the log the tail begins: other entities' entries are among them. */
const BEGIN_BEFORE = 300;
const VALUE_LENGTH_MAX = 60;

/** The newest entries of an entity's oplog, as they come. */
export function LiveTail({ entity }: { readonly entity: EntityStatus }): ComponentChildren {
  const [isPaused, setPaused] = useState(false);
  const after = useRef<number | null>(null);
  const shown = useRef<readonly OplogEntry[]>([]);
  const skipped = useRef(0);
  const tail = usePolled(`${entity.name} ${isPaused}`, INTERVAL_MS, async (signal) => {
    if (isPaused) return shown.current;
    const read = await readAfter(entity.name, after.current, entity.position ?? 0, signal);
    after.current = read.next;
    skipped.current = read.skipped;
    shown.current = [...read.entries.toReversed(), ...shown.current].slice(0, SHOWN_MAX);
    return shown.current;
  });
  const entries = tail.data ?? shown.current;
  return h(
    "section",
    { class: "panel", "aria-labelledby": "tail-title" },
    h(
      "div",
      { class: "panel-head" },
      h("h2", { id: "tail-title" }, "Oplog"),
      h("span", { class: "muted small" }, skipped.current > 0 && !isPaused ? "busy: not every entry is shown" : ""),
      h(
        "button",
        { class: "button button-small", type: "button", "aria-pressed": isPaused, onClick: () => setPaused(!isPaused) },
        isPaused ? "Resume" : "Pause",
      ),
    ),
    tail.error !== null && h("p", { class: "error-text pad" }, tail.error.message),
    entries.length === 0
      ? h("p", { class: "muted pad" }, "Nothing has happened lately.")
      : // A region that scrolls has to be reachable by keyboard.
        h(
          "div",
          { class: "tail", tabIndex: 0, role: "region", "aria-labelledby": "tail-title" },
          h(TailTable, { entity, entries }),
        ),
  );
}

function TailTable({
  entity,
  entries,
}: {
  readonly entity: EntityStatus;
  readonly entries: readonly OplogEntry[];
}): ComponentChildren {
  return h(
    "table",
    { class: "tail-table" },
    h(
      "thead",
      null,
      h(
        "tr",
        null,
        ["Position", "Time", "Operation", "Id", "Values"].map((name, index) =>
          h("th", { key: name, scope: "col", class: index === 0 ? "number" : "" }, name),
        ),
      ),
    ),
    h(
      "tbody",
      null,
      entries.map((entry) =>
        h(
          "tr",
          { key: entry.id },
          h("td", { class: "number muted" }, formatCount(entry.id)),
          h("td", { class: "muted" }, formatTime(entry.created_at)),
          h(
            "td",
            null,
            h("span", { class: `operation operation-${entry.operation}` }, entry.operation),
            entry.origin === "copy" && h("span", { class: "muted" }, " copy"),
          ),
          h("td", { class: "mono" }, entry.doc_id),
          h("td", { class: "mono values" }, entry.data === null ? "" : h(Values, { entity, data: entry.data })),
        ),
      ),
    ),
  );
}

function Values({
  entity,
  data,
}: {
  readonly entity: EntityStatus;
  readonly data: readonly unknown[];
}): ComponentChildren {
  return data.map((value, index) =>
    h(
      "span",
      { key: index, class: "value" },
      h("span", { class: "value-name" }, entity.shape.columns[index]?.name ?? String(index)),
      "\u00a0",
      valueText(value),
    ),
  );
}

function valueText(value: unknown): string {
  const text = typeof value === "bigint" ? String(value) : JSON.stringify(value);
  return text.length > VALUE_LENGTH_MAX ? `${text.slice(0, VALUE_LENGTH_MAX)}…` : text;
}

/** What came after a position; from near the end of the log where there is none, or where too much came to show. */
async function readAfter(
  name: string,
  after: number | null,
  end: number,
  signal: AbortSignal,
): Promise<{ entries: readonly OplogEntry[]; next: number; skipped: number }> {
  const path = `/api/oplogs/${encodeURIComponent(name)}?limit=${READ_MAX}&after=`;
  const from = after ?? Math.max(0, end - BEGIN_BEFORE);
  try {
    const read = await getJson<OplogAnswer>(`${path}${from}`, signal);
    if (!read.has_more) return { entries: read.entries, next: read.position, skipped: 0 };
    const nearEnd = Math.max(read.position, read.head - BEGIN_BEFORE);
    const last = await getJson<OplogAnswer>(`${path}${nearEnd}`, signal);
    return { entries: [...read.entries, ...last.entries], next: last.position, skipped: nearEnd - read.position };
  } catch (error) {
    const floor =
      error instanceof ApiError && error.problem?.code === "position_too_old" ? error.problem["floor"] : null;
    if (typeof floor !== "number") throw error;
    return { entries: [], next: Math.max(0, floor - 1), skipped: 0 };
  }
}
