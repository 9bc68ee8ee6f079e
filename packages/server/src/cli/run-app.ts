import { messageOf } from "../runtime/error-message.ts";
import type { Logger } from "../runtime/logger.ts";
import type { Service } from "../runtime/service.ts";

/** What ends a process politely: a service manager's or container's stop, and Ctrl-C. */
const STOP_SIGNALS = ["SIGTERM", "SIGINT"] as const;

/** Ctrl+C under `npm run` arrives twice, from the terminal and from npm, which passes it on: that is one wish. */
const SAME_SIGNAL_MS = 250;

/** How long after the shutdown's time is over its parts may still need to give their work up. */
const GIVE_UP_MS = 5_000;

/** Longest interval of a timer, about 25 days. */
const TIMER_MS_MAX = 2 ** 31 - 1;

/** The whole program as one service. */
interface RunnableApp extends Service {
  /** Where the API listens, as a URL; null where this process has no API. */
  address(): string | null;
}

interface RunOptions {
  readonly logger: Logger;
  readonly shutdownTimeoutMs: number;
  readonly version: string;
  /** For a program at a terminal: whether its end (SIGHUP) ends the program. Default false: it changes nothing. */
  readonly endsWithTerminal?: boolean;
  /** Reads the configuration again, on SIGHUP; without it SIGHUP changes nothing. Does not throw. */
  readonly onReload?: () => void;
  /** Called with the first signal that stops the app. */
  readonly onStopping?: (signal: NodeJS.Signals) => void;
}

/**
 * Starts the app and runs it until SIGTERM or SIGINT, then stops it in the time given; a second signal ends at once.
 * Nothing that goes wrong unnoticed keeps running: an unhandled error stops the app too.
 *
 * @returns the exit code, 0 after a stop that was asked for and was clean, else 1.
 * @throws what `app.start` threw, after the app was stopped.
 */
export async function runApp(app: RunnableApp, options: RunOptions): Promise<number> {
  const { logger, shutdownTimeoutMs, version } = options;
  /** Resolves when the app is to stop. */
  const end = Promise.withResolvers<null>();
  /** Resolves when the process is to end whatever the app still does; to whether the stop was clean. */
  const forced = Promise.withResolvers<false>();
  let isEnding = false;
  let isFatal = false;
  let firstSignalMs = -Infinity;

  const onStopSignal = (name: NodeJS.Signals): void => {
    if (name === "SIGINT" && performance.now() - firstSignalMs < SAME_SIGNAL_MS) return;
    if (isEnding) {
      logger.warn({ event: "stop_forced", signal: name }, "second signal: ending at once");
      forced.resolve(false);
      return;
    }
    isEnding = true;
    firstSignalMs = performance.now();
    options.onStopping?.(name);
    logger.info({ event: "stopping", signal: name }, "stopping; a second signal ends at once");
    end.resolve(null);
  };
  const onHangUp = (): void => {
    if (options.endsWithTerminal === true) return onStopSignal("SIGHUP");
    if (options.onReload !== undefined) return options.onReload();
    logger.info({ event: "signal_ignored", signal: "SIGHUP" }, "SIGHUP changes nothing here");
  };
  const onFatal = (error: unknown): void => {
    logger.fatal({ event: "fatal", err: error }, messageOf(error));
    isEnding = true;
    isFatal = true;
    end.resolve(null);
  };

  // Signals keep no process alive, and the app may have moments without any open handle.
  const keepAlive = setInterval(() => {}, TIMER_MS_MAX);
  for (const name of STOP_SIGNALS) process.on(name, onStopSignal);
  process.on("SIGHUP", onHangUp);
  // A rejection that nobody handles arrives here too: that is Node's default.
  process.on("uncaughtException", onFatal);

  /** Not awaited before a signal is heard: a start may take as long as a database is absent. */
  const started = app.start().then(
    () => {
      if (isEnding) return null;
      const address = app.address();
      const place = address === null ? "without an API" : `listening on ${address}`;
      logger.info({ event: "started", address, version, pid: process.pid }, `EMCache ${version} ${place}`);
      return null;
    },
    (error: unknown) => ({ error }),
  );
  const startFailed = started.then((failure) => failure ?? new Promise<never>(() => {}));
  const outcome = await Promise.race([end.promise, startFailed]);
  isEnding = true;
  const isClean = await Promise.race([stopApp(app, logger, shutdownTimeoutMs), forced.promise]);

  clearInterval(keepAlive);
  for (const name of STOP_SIGNALS) process.off(name, onStopSignal);
  process.off("SIGHUP", onHangUp);
  process.off("uncaughtException", onFatal);
  if (outcome !== null) throw outcome.error;
  return isClean && !isFatal ? 0 : 1;
}

/** Whether the app stopped in time and without an error. Never throws. */
async function stopApp(app: Service, logger: Logger, timeoutMs: number): Promise<boolean> {
  const deadline = new AbortController();
  const gaveUp = Promise.withResolvers<boolean>();
  const deadlineTimer = setTimeout(() => deadline.abort(), timeoutMs);
  const giveUpTimer = setTimeout(() => {
    logger.error({ event: "stop_gave_up" }, "did not stop in time; ending anyway, the next start recovers");
    gaveUp.resolve(false);
  }, timeoutMs + GIVE_UP_MS);
  const stopped = app.stop(deadline.signal).then(
    () => {
      logger.info({ event: "stopped" }, "stopped");
      return true;
    },
    (error: unknown) => {
      logger.error({ event: "stop_failed", err: error }, messageOf(error));
      return false;
    },
  );
  const isClean = await Promise.race([stopped, gaveUp.promise]);
  clearTimeout(deadlineTimer);
  clearTimeout(giveUpTimer);
  return isClean;
}
