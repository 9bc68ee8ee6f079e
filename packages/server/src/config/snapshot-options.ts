import { Cron } from "croner";
import { messageOf } from "../runtime/error-message.ts";
import { booleanOption, integerOption, secondsOption, textOption } from "./option.ts";

const DAY_S = 86_400;
const GIBIBYTE = 1_073_741_824;

/** The settings of snapshots, by their key in config.toml. */
export const SNAPSHOT_OPTIONS = {
  "snapshot.check_interval": secondsOption({
    description: "Time between two looks at whether an entity needs a newer snapshot.",
    min: 0.01,
    max: DAY_S,
    default: 10,
    reason: "the look itself costs nothing, `snapshot.min_lag` decides",
  }),
  "snapshot.min_lag": integerOption({
    description: "A new snapshot is made once the entity has this many oplog rows that the newest one lacks.",
    min: 1,
    max: 1_000_000_000_000,
    unit: "rows",
    default: 100,
    reason: "a client that starts from the newest snapshot has little left to read",
  }),
  "snapshot.keep_count": integerOption({
    description:
      "Snapshots of one entity that are kept; older ones are deleted, unless `snapshot.keep_age` keeps them.",
    min: 1,
    max: 10_000,
    unit: "snapshots",
    default: 3,
    reason: "a download of the one before the newest can finish, and one is left to go back to",
  }),
  "snapshot.keep_age": secondsOption({
    description:
      "How far back a restore to a point in time is to reach, as far as the oplog does: of each sixth of this time one snapshot is kept beyond `snapshot.keep_count`, and one that is older. 0 keeps none.",
    min: 0,
    max: 3_650 * DAY_S,
    default: DAY_S,
    reason: "as long as `retention.age`: further back there is no oplog to go on with",
  }),
  "snapshot.schedule": textOption({
    description:
      "When a snapshot of each entity is made whatever has changed: a cron expression of five fields (minute, hour, day, month, weekday), or six with seconds first, in UTC. Empty: never.",
    type: "cron expression",
    default: "",
    reason: "`snapshot.min_lag` makes one where there is anything new",
    example: "0 3 * * *",
    check(value) {
      if (value === "") return;
      try {
        new Cron(value, { timezone: "UTC", paused: true }).stop();
      } catch (error) {
        throw new RangeError(
          `${JSON.stringify(value)} is no cron expression (${messageOf(error)}); expected "0 3 * * *"`,
          {
            cause: error,
          },
        );
      }
    },
  }),
  "snapshot.restore_bytes_max": integerOption({
    description:
      "Disk that files may take which were made for single requests (a point in time, a snapshot fetched from object storage); they are kept for ten minutes after their last use.",
    min: 1_048_576,
    max: 1_000_000 * GIBIBYTE,
    unit: "bytes",
    default: 10 * GIBIBYTE,
    reason: "a few files of a large entity; requests beyond it are answered by 503",
  }),
  "snapshot.store.bucket": textOption({
    description: "Bucket of an S3-compatible object storage that snapshots are stored in too. Empty: none.",
    type: "name of a bucket",
    default: "",
    reason: "snapshots lie in `cache.base_dir`; object storage is for several machines",
    example: "emcache-snapshots",
    check(value) {
      if (value !== "" && !/^[A-Za-z0-9][A-Za-z0-9._-]{1,254}$/.test(value)) {
        throw new RangeError(`${JSON.stringify(value)} can't be the name of a bucket`);
      }
    },
  }),
  "snapshot.store.endpoint": textOption({
    description: "URL of the object storage where it is not AWS.",
    type: "http:// or https:// URL",
    default: "",
    reason: "the endpoint of AWS in the region",
    example: "https://minio.internal:9000",
    check: checkUrl,
  }),
  "snapshot.store.prefix": textOption({
    description: "What the keys of objects begin with.",
    type: "text without a / at its begin",
    default: "emcache/",
    reason: "a bucket can be shared; of several deployments each has a prefix of its own",
    check(value) {
      if (value.startsWith("/")) throw new RangeError(`${JSON.stringify(value)} begins with a "/"; leave it out`);
    },
  }),
  "snapshot.store.region": textOption({
    description: "Region of the bucket.",
    type: "text",
    default: "us-east-1",
    reason: "what other servers than AWS take",
    check: () => undefined,
  }),
  "snapshot.store.access_key_id": textOption({
    description:
      "Access key. Empty: the environment (`AWS_ACCESS_KEY_ID`) or the machine's role, as the AWS SDK finds them.",
    type: "text",
    default: "",
    reason: "keys are better given by the environment than by a file",
    check: () => undefined,
  }),
  "snapshot.store.secret_access_key": textOption({
    description: "Secret of the access key.",
    type: "text",
    default: "",
    reason: "as above",
    isSecret: true,
    check: () => undefined,
  }),
  "snapshot.store.path_style": booleanOption({
    description: "Whether the bucket is named in the path of a URL instead of its host.",
    default: true,
    reason: "most servers other than AWS need it, and AWS takes both",
  }),
  "snapshot.store.presign": booleanOption({
    description:
      "Whether a client that asks for a snapshot's file is sent to a pre-signed URL of the object storage (302) instead of getting the bytes from this process.",
    default: false,
    reason: "clients may not reach the object storage",
  }),
  "snapshot.store.presign_expiry": secondsOption({
    description: "How long a pre-signed URL is valid.",
    min: 1,
    max: 7 * DAY_S,
    default: 3_600,
    reason: "a download of a large file can be resumed in it; the longest that S3 allows is a week",
  }),
} as const;

/** Throws where a text is no URL of a server; "" is let through. */
export function checkUrl(value: string): void {
  if (value === "") return;
  if (!URL.canParse(value) || !/^https?:$/.test(new URL(value).protocol)) {
    throw new RangeError(`${JSON.stringify(value)} is no URL; expected http://HOST:PORT or https://HOST`);
  }
}
