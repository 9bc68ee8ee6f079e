import { messageOf } from "./error-message.ts";
import type { Logger } from "./logger.ts";
import type { Service } from "./service.ts";

/** After its time is over, how long one part may still take to give its work up before the next one is stopped. */
const GIVE_UP_MS = 1_000;

/** Parts that are started in the order in which they were added and stopped in reverse. */
export class ServiceStack {
  readonly #logger: Logger;
  readonly #services: Service[] = [];
  /** Those whose `start` was called, whatever came of it: all of them are stopped. */
  readonly #begun: Service[] = [];
  #starting: Promise<void> | null = null;
  #stopping: Promise<void> | null = null;

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  /** Adds a part on top. Only before `start`. */
  add(service: Service): void {
    if (this.#starting !== null) throw new Error(`service ${service.name} was added after the start`);
    this.#services.push(service);
  }

  /**
   * Starts all parts, one after the other. Whoever calls it again gets the same promise.
   *
   * @throws what a part's `start` threw; those before it stay started until `stop` is called. Where `stop` comes
   * first, the rest is not started and the promise resolves.
   */
  start(): Promise<void> {
    this.#starting ??= this.#startAll();
    return this.#starting;
  }

  /**
   * Stops what was started, in reverse, and goes on past failures; they are logged. When `limit` (milliseconds, or
   * the signal that a stack inside another part is given) is over, the signal of the parts not yet stopped is aborted.
   * Resolves in any case; all callers share one promise.
   */
  stop(limit: number | AbortSignal): Promise<void> {
    this.#stopping ??= this.#stopAll(limit);
    return this.#stopping;
  }

  async #startAll(): Promise<void> {
    for (const service of this.#services) {
      if (this.#stopping !== null) return;
      this.#begun.push(service);
      await service.start();
      this.#logger.debug({ event: "service_started", service: service.name }, "started");
    }
  }

  async #stopAll(limit: number | AbortSignal): Promise<void> {
    const deadline = new AbortController();
    const timer = typeof limit === "number" ? setTimeout(() => deadline.abort(), limit) : undefined;
    const signal = typeof limit === "number" ? deadline.signal : limit;
    try {
      for (const service of this.#begun.toReversed()) await this.#stopOne(service, signal);
    } finally {
      clearTimeout(timer);
    }
  }

  async #stopOne(service: Service, signal: AbortSignal): Promise<void> {
    const gaveUp = Promise.withResolvers<"gave up">();
    let timer: NodeJS.Timeout | undefined;
    const onDeadline = (): void => {
      timer = setTimeout(() => gaveUp.resolve("gave up"), GIVE_UP_MS);
    };
    if (signal.aborted) onDeadline();
    else signal.addEventListener("abort", onDeadline, { once: true });
    try {
      const outcome = await Promise.race([service.stop(signal), gaveUp.promise]);
      if (outcome === "gave up") {
        this.#logger.error({ event: "service_stop_gave_up", service: service.name }, "did not stop in time; going on");
      } else {
        this.#logger.debug({ event: "service_stopped", service: service.name }, "stopped");
      }
    } catch (error) {
      this.#logger.error({ event: "service_stop_failed", service: service.name, err: error }, messageOf(error));
    } finally {
      clearTimeout(timer);
      signal.removeEventListener("abort", onDeadline);
    }
  }
}
