/** Lines that are drawn over again and again at the same place of a terminal. */
export class TerminalScreen {
  readonly #print: (text: string) => void;
  #drawn = 0;

  constructor(print: (text: string) => void) {
    this.#print = print;
  }

  /** Over what was drawn last. Lines are cut to the terminal's size, since one that wraps or scrolls can't be drawn over. */
  draw(lines: readonly string[]): void {
    const { columns, rows } = process.stdout;
    // Some terminals tell no size, or 0.
    const width = columns > 0 ? columns : 80;
    const shown = lines.slice(0, rows > 1 ? rows - 1 : 23);
    const up = this.#drawn === 0 ? "" : `\u001b[${this.#drawn}A`;
    const text = shown.map((line) => `\u001b[2K${cutLine(line, width)}\n`).join("");
    this.#print(`${up}${text}\u001b[J`);
    this.#drawn = shown.length;
  }
}

/** The line up to a width; escape sequences take none. */
export function cutLine(line: string, width: number): string {
  let left = width;
  let text = "";
  // eslint-disable-next-line no-control-regex
  for (const [part] of line.matchAll(/\u001b\[\d*m|[^\u001b]/gu)) {
    if (part.length > 1 && part.startsWith("\u001b")) text += part;
    else if (left-- > 0) text += part;
  }
  return text;
}
