import { expect, test } from "vitest";
import type { EntityStatus } from "../api/entity-status.ts";
import { paintFor } from "./paint.ts";
import { StatusRates, type StatusReading } from "./status-reading.ts";
import { durationText, statusLines } from "./status-table.ts";

const PLAIN = paintFor({});

function entity(values: Partial<EntityStatus>): EntityStatus {
  return {
    id: 1,
    name: "users",
    client: "main",
    source: "people",
    shape: { id_column: { path: "$._id", type: "string" }, columns: [], indexes: [] },
    created_at: "2026-01-01T00:00:00Z",
    state: "live",
    percent: null,
    copy_paused: false,
    reason: null,
    rows: 1234567,
    position: 10,
    lag_ms: 12,
    lag_entries: 0,
    applied_entries: 0,
    size_bytes: 1,
    last_error: null,
    rejects: 0,
    pending: null,
    ...values,
  };
}

function reading(atMs: number, ...entities: readonly EntityStatus[]): StatusReading {
  return { atMs, entities, health: { status: "healthy", components: {} } };
}

test("rates come from two readings: events a second, and the time that a copy still takes", () => {
  const rates = new StatusRates();
  const first = rates.take(reading(0, entity({ applied_entries: 100, percent: 20 })));
  expect(first.get(1)).toEqual({ entriesPerS: null, etaS: null });
  // 20 % in 10 s: the other 60 % take 30 s.
  const second = rates.take(reading(10_000, entity({ applied_entries: 300, percent: 40 })));
  expect(second.get(1)).toEqual({ entriesPerS: 20, etaS: 30 });
  // Another copy begins; a restarted server counts anew.
  const third = rates.take(reading(20_000, entity({ applied_entries: 5, percent: 1 })));
  expect(third.get(1)).toEqual({ entriesPerS: null, etaS: null });
});

test("a line for each version, a copy as a bar, and what is wrong with its hint, once", () => {
  const error = { code: "source_unavailable", detail: "Source main: refused", hint: "Check it." };
  const pending = { ...entity({ id: 2, state: "copying", rows: 50, percent: 50 }), pending: null };
  const shown = reading(
    0,
    entity({ pending, last_error: error }),
    entity({ id: 3, name: "b", state: "stopped", reason: "a reject" }),
  );
  const part = { status: "degraded", reason: error.detail, hint: error.hint };
  const health = { status: "degraded", components: { "source.main": part } } as const;
  const rates = new Map([[2, { entriesPerS: 3, etaS: 200 }]]);
  expect(statusLines({ ...shown, health }, rates, PLAIN)).toEqual([
    "ENTITY       SOURCE       STATE         ROWS    LAG  BEHIND  EVENTS/S  REJECTS  COPY",
    "users        main.people  live     1,234,567  12 ms       0         -        0",
    "users (new)  main.people  copying         50  12 ms       0       3.0        0  [=====>      ] 50.0 %, 3 min left",
    "b            main.people  stopped  1,234,567  12 ms       0         -        0",
    "! source.main: Source main: refused",
    "  Hint: Check it.",
  ]);
  expect(statusLines(reading(0), new Map(), PLAIN)).toEqual(["There is no entity yet: emcache entity create --help"]);
});

test("times as a person says them", () => {
  expect([0.2, 89, 90, 3600, 5400, 86_400 * 3].map(durationText)).toEqual([
    "1 s",
    "89 s",
    "2 min",
    "60 min",
    "1.5 h",
    "3 days",
  ]);
});
