import { baseTables } from "./0001-base-tables.ts";
import { sealFunctions } from "./0002-seal-functions.ts";
import { snapshotPlaces } from "./0003-snapshot-places.ts";
import { sealTellsTime } from "./0004-seal-tells-time.ts";
import { copyStates } from "./0005-copy-states.ts";
import { streamRequests } from "./0006-stream-requests.ts";
import { wideIdTypes } from "./0007-wide-id-types.ts";
import { countedRejects } from "./0008-counted-rejects.ts";
import { accessTokens } from "./0009-access-tokens.ts";
import { sideBySide } from "./0010-side-by-side.ts";
import type { Migration } from "./migration.ts";

/** Every step of the schema, in order. */
export const allMigrations: readonly Migration[] = [
  baseTables,
  sealFunctions,
  snapshotPlaces,
  sealTellsTime,
  copyStates,
  streamRequests,
  wideIdTypes,
  countedRejects,
  accessTokens,
  sideBySide,
];
