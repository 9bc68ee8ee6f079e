/** Drivers send at most 48 MB and a little (`hello.maxMessageSizeBytes`). */
const MESSAGE_BYTES_MAX = 48_000_000 + 16_384;

/** Cuts what arrives on a socket into whole messages. A message is a buffer of its own, so documents may be views of it. */
export class MessageSplitter {
  #chunks: Buffer[] = [];
  #length = 0;

  /** @throws RangeError for a length that no message has */
  *push(chunk: Buffer): Generator<Buffer> {
    this.#chunks.push(chunk);
    this.#length += chunk.length;
    while (this.#length >= 4) {
      const size = this.#head().readInt32LE(0);
      if (size < 16 || size > MESSAGE_BYTES_MAX) throw new RangeError(`a message of ${size} bytes`);
      if (this.#length < size) return;
      yield this.#take(size);
    }
  }

  #head(): Buffer {
    const first = this.#chunks[0] ?? Buffer.alloc(0);
    if (first.length >= 4) return first;
    const joined = Buffer.concat(this.#chunks, this.#length);
    this.#chunks = [joined];
    return joined;
  }

  #take(size: number): Buffer {
    const first = this.#chunks[0];
    // The socket's read buffers are not reused by Node, so a view of one is safe to keep.
    const joined = first !== undefined && first.length >= size ? first : Buffer.concat(this.#chunks, this.#length);
    if (joined !== first) this.#chunks = [joined];
    const message = joined.subarray(0, size);
    this.#length -= size;
    if (joined.length === size) this.#chunks.shift();
    else this.#chunks[0] = joined.subarray(size);
    return message;
  }
}
