import { closeSync, fstatSync, openSync, readSync, statSync } from "node:fs";

/** Lengths in SQLite's WAL file. https://www.sqlite.org/fileformat2.html#walformat */
const WAL_HEADER_BYTES = 32;
const FRAME_HEADER_BYTES = 24;
const SALT_OFFSET = 16;
const SALT_BYTES = 8;

/** Frames read at once: about 1 MiB. */
const FRAMES_AT_ONCE = 256;

/**
 * The WAL beside a database, read as a file. SQLite takes no locks on it, so it may be opened and closed freely (the
 * database file may not: closing any descriptor of it drops this process's locks).
 */
export class WalFrames {
  readonly #path: string;
  readonly #pageBytes: number;
  #file: number | null = null;

  constructor(databasePath: string, pageBytes: number) {
    this.#path = `${databasePath}-wal`;
    this.#pageBytes = pageBytes;
  }

  /** Changes when SQLite begins the WAL anew; "" where it holds nothing. */
  salt(): string {
    const header = Buffer.alloc(WAL_HEADER_BYTES);
    const file = this.#open();
    if (file === null || readSync(file, header, 0, WAL_HEADER_BYTES, 0) < WAL_HEADER_BYTES) return "";
    return header.toString("hex", SALT_OFFSET, SALT_OFFSET + SALT_BYTES);
  }

  /** Calls `visit` with the page number and content of the frames in [from, to), counted from 0, as far as they are there. */
  forEach(from: number, to: number, visit: (page: number, content: Buffer) => void): void {
    const file = this.#open();
    if (file === null) return;
    const frameBytes = FRAME_HEADER_BYTES + this.#pageBytes;
    const buffer = Buffer.allocUnsafe(Math.min(FRAMES_AT_ONCE, Math.max(0, to - from)) * frameBytes);
    for (let frame = from; frame < to;) {
      const wanted = Math.min(FRAMES_AT_ONCE, to - frame) * frameBytes;
      const found = readSync(file, buffer, 0, wanted, WAL_HEADER_BYTES + frame * frameBytes);
      const count = Math.floor(found / frameBytes);
      for (let index = 0; index < count; index++) {
        const start = index * frameBytes;
        visit(buffer.readUInt32BE(start), buffer.subarray(start + FRAME_HEADER_BYTES, start + frameBytes));
      }
      if (count === 0) return;
      frame += count;
    }
  }

  /** Whether the file that SQLite writes to still has its name. True while there is none. */
  isInPlace(): boolean {
    const file = this.#open();
    return file === null || statSync(this.#path, { throwIfNoEntry: false })?.ino === fstatSync(file).ino;
  }

  close(): void {
    if (this.#file !== null) closeSync(this.#file);
    this.#file = null;
  }

  #open(): number | null {
    if (this.#file === null && statSync(this.#path, { throwIfNoEntry: false }) !== undefined) {
      this.#file = openSync(this.#path, "r");
    }
    return this.#file;
  }
}
