import type { Document, Long } from "mongodb";
import { classifyMongoError } from "../../packages/server/src/source/mongo-error.ts";
import type { SourceConnection, SourceSession } from "../../packages/server/src/source/source-connection.ts";
import type { CommandFault, ModelServer, ServerTraits } from "./model-server.ts";
import type { Party, Scheduler } from "./scheduler.ts";
import type { SourceModel } from "./source-model.ts";

export interface ModelConnectionOptions {
  readonly server: ModelServer;
  readonly model: SourceModel;
  readonly scheduler: Scheduler;
  readonly party: Party;
  readonly traits: ServerTraits;
  /** What the next command is made to fail with. */
  readonly takeFault: (command: string) => CommandFault | null;
}

/** The model as a source that a process is connected to: answers come when the scheduler brings them. */
export class ModelConnection implements SourceConnection {
  readonly sourceName = "main";
  readonly databaseName = "sim";
  readonly isSharded = false;
  readonly canSplitEvents = false;
  readonly hasPostImages: boolean;
  readonly #options: ModelConnectionOptions;

  constructor(options: ModelConnectionOptions) {
    this.#options = options;
    this.hasPostImages = options.traits.hasPostImages;
  }

  startSession(): SourceSession {
    const { server } = this.#options;
    return {
      run: (command, signal) => this.#run(command, signal),
      killCursor: async (_collection: string, cursorId: Long): Promise<void> => server.kill(cursorId),
      end: async () => undefined,
    };
  }

  async collectionNames(signal: AbortSignal): Promise<string[]> {
    const { scheduler, party, model } = this.#options;
    await scheduler.turn("listCollections", party, { signal });
    return [...model.collections.keys()].filter((name) => model.count(name) > 0);
  }

  async estimatedCount(collection: string, signal: AbortSignal): Promise<number> {
    const { scheduler, party, model } = this.#options;
    await scheduler.turn("count", party, { signal });
    return model.count(collection);
  }

  async close(): Promise<void> {
    await Promise.resolve();
  }

  async #run(command: Document, signal: AbortSignal): Promise<Record<string, unknown>> {
    const { server, scheduler, party, takeFault } = this.#options;
    signal.throwIfAborted();
    const [name = ""] = Object.keys(command);
    const isCopy = name === "getMore" && command["collection"] !== "$cmd.aggregate";
    const answered = server.run(command, takeFault(isCopy ? "copy" : name)).then(
      (reply) => ({ reply }),
      (error: unknown) => ({ error }),
    );
    const aborted = Promise.withResolvers<never>();
    aborted.promise.catch(() => "seen where it is waited for");
    const onAbort = (): void => aborted.reject(signal.reason as Error);
    signal.addEventListener("abort", onAbort, { once: true });
    try {
      const answer = await Promise.race([answered, aborted.promise]);
      await scheduler.turn(`the answer to ${name}`, party, { signal });
      if ("reply" in answer) return answer.reply;
      if (answer.error instanceof RangeError) throw answer.error;
      throw classifyMongoError(answer.error, this.sourceName);
    } finally {
      signal.removeEventListener("abort", onAbort);
    }
  }
}
