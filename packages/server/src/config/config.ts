import type { AuthMode } from "./security-options.ts";

/** The parts of the work that a process can do. */
export const ROLES = ["capture", "replicate", "api"] as const;
export type Role = (typeof ROLES)[number];

/** How the state after an update is learnt: by reading the document, or from the change stream's post-image. */
export const FULL_DOCUMENT_MODES = ["lookup", "post_image"] as const;
export type FullDocumentMode = (typeof FULL_DOCUMENT_MODES)[number];

/** One MongoDB database that is captured. */
export interface SourceConfig {
  /** `mongodb://…`, `mongodb+srv://…`, or `embedded`. */
  readonly uri: string;
  readonly database: string;
  readonly fullDocument: FullDocumentMode;
}

/** Where snapshots are stored beside this machine's disk. */
export interface ObjectStoreConfig {
  readonly bucket: string;
  /** Null: AWS. */
  readonly endpoint: string | null;
  readonly prefix: string;
  readonly region: string;
  /** Null: as the AWS SDK finds them. */
  readonly credentials: { readonly accessKeyId: string; readonly secretAccessKey: string } | null;
  readonly isPathStyle: boolean;
  /** Whether clients are sent to a pre-signed URL. */
  readonly presigns: boolean;
  readonly presignExpiryS: number;
}

/** Which JSON Web Tokens are taken. */
export interface JwtConfig {
  readonly jwksUrl: string;
  readonly issuer: string;
  readonly audience: string;
}

/** Files in PEM; absolute paths. */
export interface TlsFiles {
  readonly cert: string;
  readonly key: string;
}

/**
 * The whole configuration, checked and complete. Each field is one option of `option-table.ts`, where its meaning,
 * range and default stand. Paths are absolute; durations are seconds and may be fractions.
 */
export interface Config {
  readonly server: {
    readonly host: string;
    readonly port: number;
    /** Without a slash at its end; null: not reached by others. */
    readonly advertiseUrl: string | null;
    /** Requests that may wait for the log at once. */
    readonly waitingMax: number;
    /** Whether shared HTTP caches may keep immutable answers. */
    readonly cachesPublicly: boolean;
    readonly shutdownTimeoutS: number;
    readonly auth: AuthMode;
    /** Null unless `auth` is `jwt`. */
    readonly jwt: JwtConfig | null;
    /** Null: plain HTTP. */
    readonly tls: TlsFiles | null;
    /** Requests a minute of one address; 0: no limit. */
    readonly rateLimit: number;
    readonly query: { readonly isEnabled: boolean; readonly timeoutS: number };
  };
  readonly logging: {
    readonly level: string;
    /** 0: no lines. */
    readonly metricsIntervalS: number;
  };
  /** Null: nothing is traced. */
  readonly tracing: { readonly endpoint: string; readonly samplePercent: number } | null;
  readonly dataDir: string;
  readonly roles: readonly Role[];
  readonly database: {
    readonly postgres: {
      /** `postgres://…`, or `embedded`. */
      readonly uri: string;
      readonly maxConnections: number;
      readonly minConnections: number;
      readonly connectionTimeoutS: number;
    };
  };
  /** By name. */
  readonly sources: Readonly<Record<string, SourceConfig>>;
  readonly cache: {
    readonly baseDir: string;
    readonly replicationIntervalS: number;
    readonly entityRefreshIntervalS: number;
  };
  readonly snapshot: {
    readonly checkIntervalS: number;
    readonly minLag: number;
    readonly keepCount: number;
    readonly keepAgeS: number;
    /** Cron expression; null: no schedule. */
    readonly schedule: string | null;
    readonly restoreBytesMax: number;
    readonly store: ObjectStoreConfig | null;
  };
  readonly copy: {
    readonly maxConcurrent: number;
    /** 0: no limit. */
    readonly rowsPerSMax: number;
    readonly readPreference: "primary" | "secondary";
  };
  readonly retention: {
    readonly ageS: number;
    readonly rowsMax: number;
    /** 0: four times `rowsMax`. */
    readonly rowsHardMax: number;
    readonly claimTtlS: number;
  };
  readonly memory: { readonly captureBytesMax: number; readonly followBytesMax: number };
}
