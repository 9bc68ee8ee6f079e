import { EmcacheError } from "@emcache/protocol";
import type { CaptureStart } from "../../source/capture-log.ts";
import { ExactlyOnceLog, type ExactlyOnceLogOptions, type OpenAppend, type Sealed } from "../exactly-once-log.ts";
import { type LogNetwork, LogRefusal } from "./log-network.ts";
import { connectionBroken, type MemoryOplog } from "./memory-oplog.ts";

export interface MemoryCaptureLogOptions extends ExactlyOnceLogOptions {
  readonly oplog: MemoryOplog;
  readonly network: LogNetwork;
}

/** The oplog in memory as the holder of a source's lease sees it: the twin of `PostgresCaptureLog`. */
export class MemoryCaptureLog extends ExactlyOnceLog {
  readonly #oplog: MemoryOplog;
  readonly #network: LogNetwork;

  constructor(options: MemoryCaptureLogOptions) {
    super(options);
    this.#oplog = options.oplog;
    this.#network = options.network;
  }

  protected async begin(signal: AbortSignal): Promise<{ readonly number: number; readonly start: CaptureStart }> {
    try {
      return await this.#network.call("load", () => this.#oplog.load(this.sourceName, this.epoch), signal);
    } catch (error) {
      signal.throwIfAborted();
      throw error instanceof LogRefusal ? this.leaseLost(error) : connectionBroken();
    }
  }

  protected async send(open: OpenAppend, number: number, signal: AbortSignal): Promise<Sealed> {
    const identity = { source: this.sourceName, epoch: this.epoch, number, tag: open.tag };
    try {
      return await this.#network.call("append", () => this.#oplog.seal(identity, open.batch), signal);
    } catch (error) {
      if (!(error instanceof LogRefusal)) {
        open.isUnknown = true;
        signal.throwIfAborted();
        throw connectionBroken();
      }
      switch (error.code) {
        case "EM001":
          throw this.leaseLost(error);
        case "EM002":
          return { firstPosition: error.firstPosition, place: null };
        case "EM003":
          throw new EmcacheError("history_mismatch", "it is not the next append of its source", { cause: error });
      }
    }
  }
}
