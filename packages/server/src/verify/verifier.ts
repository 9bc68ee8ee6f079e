import { EmcacheError, type Entity } from "@emcache/protocol";
import { messageOf } from "../runtime/error-message.ts";
import type { Logger } from "../runtime/logger.ts";
import { MongoSource, type MongoSourceOptions } from "../source/mongo-source.ts";
import { Verification } from "./verification.ts";
import type { VerificationContext } from "./verification-context.ts";
import type { VerifyListener, VerifyOptions, VerifyResult } from "./verify-report.ts";

export type { Difference, VerifyListener, VerifyResult } from "./verify-report.ts";

export interface VerifierOptions extends Pick<VerificationContext, "oplog" | "log" | "caches" | "ask" | "requestCopy"> {
  /** Where a configured source is; null for one that this process does not know. */
  readonly mongo: (sourceName: string) => MongoSourceOptions | null;
  readonly logger: Logger;
}

/** A verification that was begun: its source answers. */
export interface BegunVerification {
  /** Verifies; ends by itself when the signal that it was begun with aborts. To be called once. */
  run(listener: VerifyListener): Promise<VerifyResult>;
}

/** Verifies entities against their sources; each process those whose caches it has, one verification of each at a time. */
export class Verifier {
  readonly #options: VerifierOptions;
  readonly #running = new Set<number>();
  readonly #end = new AbortController();

  constructor(options: VerifierOptions) {
    this.#options = options;
  }

  /**
   * Connects to the entity's source.
   *
   * @throws verification_not_ready where this process can't verify it now; source_unavailable and the like
   */
  async begin(entity: Entity, options: VerifyOptions, signal: AbortSignal): Promise<BegunVerification> {
    const { mongo, caches } = this.#options;
    const found = mongo(entity.client);
    if (found === null || caches.pathOf(entity.id) === null) {
      throw new EmcacheError(
        "verification_not_ready",
        `This process has no ${found === null ? `source ${entity.client}` : `cache of ${entity.name}`}`,
        {
          hint: "Ask a process that has the role `replicate` and the source in its configuration.",
        },
      );
    }
    if (this.#running.has(entity.id)) {
      throw new EmcacheError("verification_not_ready", `${entity.name} is being verified already`, {
        hint: "Wait for that verification, or end the request that runs it.",
      });
    }
    this.#running.add(entity.id);
    try {
      const ended = AbortSignal.any([signal, this.#end.signal]);
      const source = await MongoSource.connect(found, ended);
      return { run: (listener) => this.#run(entity, source, { options, listener, signal: ended }) };
    } catch (error) {
      this.#running.delete(entity.id);
      throw error;
    }
  }

  /** Ends all verifications, for good: the process stops. */
  end(): void {
    this.#end.abort(new EmcacheError("verification_not_ready", "The process stops, and the verification with it"));
  }

  async #run(
    entity: Entity,
    source: MongoSource,
    run: Pick<VerificationContext, "options" | "listener" | "signal">,
  ): Promise<VerifyResult> {
    const { oplog, log, caches, ask, requestCopy, logger } = this.#options;
    const context = { entity: entity.name, version: entity.id, repair: run.options.repair };
    logger.info({ event: "verification_started", ...context }, "comparing source and cache");
    try {
      const verification = new Verification({ entity, source, oplog, log, caches, ask, requestCopy, ...run });
      const result = await verification.run();
      const { documents, differences, repaired, durationMs } = result;
      const line = { event: "verification_ended", ...context, documents, differences, repaired, durationMs };
      if (differences === 0) logger.info(line, "source and cache are equal");
      else logger.error(line, "source and cache differ");
      return result;
    } catch (error) {
      const reason = run.signal.aborted ? "aborted" : messageOf(error);
      logger.warn({ event: "verification_failed", ...context, reason }, "source and cache were not compared");
      throw error;
    } finally {
      this.#running.delete(entity.id);
      await source.close();
    }
  }
}
