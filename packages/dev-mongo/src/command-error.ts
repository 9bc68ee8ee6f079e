/** Error codes that this server answers with (MongoDB's error_codes.yml). */
export const ERROR_NAME: Readonly<Record<number, string>> = {
  2: "BadValue",
  9: "FailedToParse",
  11: "UserNotFound",
  13: "Unauthorized",
  14: "TypeMismatch",
  20: "IllegalOperation",
  26: "NamespaceNotFound",
  27: "IndexNotFound",
  40: "ConflictingUpdateOperators",
  43: "CursorNotFound",
  48: "NamespaceExists",
  50: "MaxTimeMSExpired",
  59: "CommandNotFound",
  66: "ImmutableField",
  72: "InvalidOptions",
  73: "InvalidNamespace",
  85: "IndexOptionsConflict",
  91: "ShutdownInProgress",
  53: "InvalidIdField",
  28: "PathNotViable",
  47: "NoMatchingDocument",
  56: "EmptyFieldName",
  112: "WriteConflict",
  136: "CappedPositionLost",
  175: "QueryPlanKilled",
  189: "PrimarySteppedDown",
  217: "IncompatibleElectionId",
  225: "TransactionTooOld",
  237: "CursorKilled",
  244: "TransactionAborted",
  251: "NoSuchTransaction",
  256: "TransactionCommitted",
  260: "InvalidResumeToken",
  263: "OperationNotSupportedInTransaction",
  280: "ChangeStreamFatalError",
  286: "ChangeStreamHistoryLost",
  303: "CloseChangeStream",
  10107: "NotWritablePrimary",
  10334: "BSONObjectTooLarge",
  11000: "DuplicateKey",
  11600: "InterruptedAtShutdown",
  11602: "InterruptedDueToReplStateChange",
  13435: "NotPrimaryNoSecondaryOk",
};

/** What a command answers when it fails; the connection goes on. */
export class CommandError extends Error {
  readonly code: number;
  readonly codeName: string;
  readonly labels: readonly string[];
  /** Further fields of the answer, such as `keyPattern`. */
  readonly details: Readonly<Record<string, unknown>>;

  constructor(
    code: number,
    message: string,
    options: { readonly labels?: readonly string[]; readonly details?: Readonly<Record<string, unknown>> } = {},
  ) {
    super(message);
    this.name = "CommandError";
    this.code = code;
    this.codeName = ERROR_NAME[code] ?? `Location${code}`;
    this.labels = options.labels ?? [];
    this.details = options.details ?? {};
  }
}
