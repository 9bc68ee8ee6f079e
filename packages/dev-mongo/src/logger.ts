/** Where the server says what it does; a pino logger is one. */
export interface DevMongoLogger {
  info(context: Readonly<Record<string, unknown>>, message: string): void;
  warn(context: Readonly<Record<string, unknown>>, message: string): void;
}

/** Says nothing. */
export const silentLogger: DevMongoLogger = { info: () => undefined, warn: () => undefined };
