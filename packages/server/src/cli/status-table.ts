import type { VersionStatus } from "../api/entity-status.ts";
import type { Paint } from "./paint.ts";
import { type StatusReading, type VersionRates, versionsIn } from "./status-reading.ts";
import { type TableColumn, tableLines } from "./text-table.ts";

const COUNT = new Intl.NumberFormat("en-US");
const BAR_CELLS = 12;
const COLUMNS: readonly TableColumn[] = [
  { heading: "ENTITY", align: "left" },
  { heading: "SOURCE", align: "left" },
  { heading: "STATE", align: "left" },
  { heading: "ROWS", align: "right" },
  { heading: "LAG", align: "right" },
  { heading: "BEHIND", align: "right" },
  { heading: "EVENTS/S", align: "right" },
  { heading: "REJECTS", align: "right" },
  { heading: "COPY", align: "left" },
];
const STATE_COLUMN = 2;

/** A server's state as lines: one an entity, a copy as a bar, and below what is not well with what to do. */
export function statusLines(reading: StatusReading, rates: ReadonlyMap<number, VersionRates>, paint: Paint): string[] {
  const versions = versionsIn(reading);
  const pending = new Set(reading.entities.flatMap((entity) => (entity.pending === null ? [] : [entity.pending.id])));
  const cells = versions.map((version) => cellsOf(version, pending.has(version.id), rates.get(version.id)));
  const table = tableLines(COLUMNS, cells, (cell, column, row) => {
    if (row === null) return paint.dim(cell);
    if (column === 0) return paint.bold(cell);
    if (column !== STATE_COLUMN) return cell;
    const { state } = versions[row] ?? { state: "failed" };
    return state === "live" ? paint.green(cell) : state === "copying" ? paint.yellow(cell) : paint.red(cell);
  });
  const body = versions.length === 0 ? ["There is no entity yet: emcache entity create --help"] : table;
  return [...body, ...troubleLines(reading, paint)];
}

function cellsOf(version: VersionStatus, isPending: boolean, rates: VersionRates | undefined): string[] {
  const perS = rates?.entriesPerS ?? null;
  return [
    isPending ? `${version.name} (new)` : version.name,
    `${version.client}.${version.source}`,
    version.copy_paused === true ? `${version.state}, copy paused` : version.state,
    version.rows === null ? "-" : COUNT.format(version.rows),
    version.lag_ms === null ? "-" : lagText(version.lag_ms),
    version.lag_entries === null ? "-" : COUNT.format(version.lag_entries),
    perS === null ? "-" : perS.toFixed(1),
    version.rejects === null ? "-" : COUNT.format(version.rejects),
    version.percent === null ? "" : copyText(version.percent, rates?.etaS ?? null),
  ];
}

function lagText(ms: number): string {
  return ms < 10_000 ? `${ms} ms` : durationText(ms / 1000);
}

/** `[=====>      ] 42.0 %, 3 min left` */
function copyText(percent: number, etaS: number | null): string {
  const done = Math.round((percent / 100) * BAR_CELLS);
  const bar = `${"=".repeat(Math.max(done - 1, 0))}${done > 0 ? ">" : ""}`.padEnd(BAR_CELLS);
  return `[${bar}] ${percent.toFixed(1)} %${etaS === null ? "" : `, ${durationText(etaS)} left`}`;
}

/** In the unit that a person would say. */
export function durationText(seconds: number): string {
  if (seconds < 90) return `${Math.ceil(seconds)} s`;
  if (seconds < 90 * 60) return `${Math.round(seconds / 60)} min`;
  if (seconds < 48 * 3600) return `${(seconds / 3600).toFixed(1)} h`;
  return `${Math.round(seconds / 86_400)} days`;
}

function troubleLines({ entities, health }: StatusReading, paint: Paint): string[] {
  const ofParts = Object.entries(health.components).flatMap(([name, { status, reason, hint }]) =>
    status === "healthy" ? [] : [{ name, what: reason ?? status, hint }],
  );
  const told = new Set(ofParts.map(({ what }) => what));
  const ofEntities = entities.flatMap(({ name, last_error: error }) =>
    error === null || told.has(error.detail) ? [] : [{ name, what: error.detail, hint: error.hint }],
  );
  return [...ofParts, ...ofEntities].flatMap(({ name, what, hint }) => [
    `${paint.red("!")} ${paint.bold(name)}: ${what}`,
    ...(hint === null || hint === "" ? [] : [`  Hint: ${hint}`]),
  ]);
}
