import type pg from "pg";
import { schemaVersion } from "./migrate.ts";
import { allMigrations } from "./migrations/all-migrations.ts";

/** How far a database's schema is. */
export interface SchemaState {
  /** Steps that it has; 0 for a fresh one. */
  readonly version: number;
  /** Steps that this program would take, in order. */
  readonly pending: readonly { readonly version: number; readonly name: string }[];
}

/** Looks, and changes nothing. @throws schema_newer, and errors of the PostgreSQL client. */
export async function schemaState(client: pg.ClientBase): Promise<SchemaState> {
  const version = await schemaVersion(client, allMigrations.length);
  const pending = allMigrations.slice(version).map((step) => ({ version: step.version, name: step.name }));
  return { version, pending };
}
