import { CommandError } from "../command-error.ts";
import type { Store } from "../store/store.ts";
import { Transaction } from "./transaction.ts";

/** Fields of a command that say what it is part of. */
export interface TransactionFields {
  readonly txnNumber: bigint;
  readonly startTransaction: boolean;
  /** Whether it has `autocommit: false`, which only commands of transactions have. */
  readonly isTransaction: boolean;
}

/**
 * A client's session on the server: its transaction, and the answers of its last retryable write, which a repeated
 * request gets without being done twice (MongoDB manual, "Retryable Writes").
 */
export class Session<Reply> {
  readonly #store: Store;
  /** BSON document `{id, uid}`, as events carry it. */
  readonly #lsid: Buffer;
  #txnNumber = -1n;
  #transaction: Transaction | null = null;
  #retryableReply: Promise<Reply> | null = null;

  constructor(store: Store, lsid: Buffer) {
    this.#store = store;
    this.#lsid = lsid;
  }

  get transaction(): Transaction | null {
    return this.#transaction;
  }

  /**
   * Runs a retryable write, unless this number has been answered.
   *
   * @throws CommandError 225 for a number that is older than the session's
   */
  async retryable(txnNumber: bigint, run: () => Promise<Reply>): Promise<Reply> {
    this.#advance(txnNumber);
    if (this.#retryableReply !== null) return this.#retryableReply;
    const reply = run();
    this.#retryableReply = reply;
    try {
      return await reply;
    } catch (error) {
      // What failed as a whole was not done: a repetition may try it.
      if (this.#retryableReply === reply) this.#retryableReply = null;
      throw error;
    }
  }

  /**
   * The transaction that a command belongs to, begun by its first command.
   *
   * @throws CommandError 251 (TransientTransactionError) where there is none of this number, 256 once it is committed
   */
  transactionOf({ txnNumber, startTransaction }: TransactionFields): Transaction {
    if (startTransaction) {
      this.#advance(txnNumber);
      this.#transaction?.abort();
      this.#transaction = new Transaction(this.#store, { lsid: this.#lsid, txnNumber });
      return this.#transaction;
    }
    const transaction = this.#transaction;
    if (transaction === null || txnNumber !== this.#txnNumber || transaction.state === "aborted") {
      throw new CommandError(
        251,
        `Given transaction number ${txnNumber} does not match any in-progress transactions.`,
        {
          labels: ["TransientTransactionError"],
        },
      );
    }
    if (transaction.state === "committed") {
      throw new CommandError(256, `Transaction with { txnNumber: ${txnNumber} } has been committed.`);
    }
    return transaction;
  }

  /** The transaction to commit, which may be committed already: a repeated commit succeeds. */
  transactionToEnd(txnNumber: bigint): Transaction {
    const transaction = this.#transaction;
    if (transaction === null || txnNumber !== this.#txnNumber || transaction.state === "aborted") {
      throw new CommandError(251, `Transaction with { txnNumber: ${txnNumber} } has been aborted.`, {
        labels: ["TransientTransactionError"],
      });
    }
    return transaction;
  }

  /** The client ended it, or the server forgets it. */
  end(): void {
    this.#transaction?.abort();
  }

  #advance(txnNumber: bigint): void {
    if (txnNumber < this.#txnNumber) {
      throw new CommandError(
        225,
        `Cannot start transaction ${txnNumber}; a newer transaction ${this.#txnNumber} has started.`,
      );
    }
    if (txnNumber === this.#txnNumber) return;
    this.#txnNumber = txnNumber;
    this.#retryableReply = null;
    this.#transaction?.abort();
    this.#transaction = null;
  }
}
