import { h, type ComponentChildren } from "preact";
import { useRef } from "preact/hooks";

/** One mistake in the text. */
export interface Mistake {
  /** As `shape.columns[1].path: is no JSONPath`. */
  readonly message: string;
  /** From 0. */
  readonly line: number;
}

/**
 * A field for JSON with line numbers, colours, and each mistake at the end of its line. The text is a plain text area
 * (with all that a browser and a screen reader can do with one), the rest lies behind it.
 */
export function JsonEditor(props: {
  readonly text: string;
  readonly mistakes: readonly Mistake[];
  readonly describedBy: string;
  readonly area: { current: HTMLTextAreaElement | null };
  readonly onInput: (text: string) => void;
}): ComponentChildren {
  const behind = useRef<HTMLDivElement>(null);
  const lines = props.text.split("\n");
  const follow = (area: HTMLTextAreaElement): void => {
    if (behind.current !== null)
      behind.current.style.transform = `translate(${-area.scrollLeft}px, ${-area.scrollTop}px)`;
  };
  return h(
    "div",
    { class: "editor" },
    h(
      "div",
      { class: "editor-window", "aria-hidden": "true" },
      h(
        "div",
        { class: "editor-behind", ref: behind },
        lines.map((line, index) =>
          h(Line, { key: index, line, mistakes: props.mistakes.filter((mistake) => mistake.line === index) }),
        ),
      ),
    ),
    h("textarea", {
      ref: props.area,
      class: "editor-text",
      value: props.text,
      wrap: "off",
      spellcheck: false,
      autocomplete: "off",
      rows: Math.min(Math.max(lines.length + 1, 12), 34),
      "aria-label": "Definition as JSON",
      "aria-describedby": props.describedBy,
      "aria-invalid": props.mistakes.length > 0,
      onInput: (event: Event) => props.onInput((event.currentTarget as HTMLTextAreaElement).value),
      onScroll: (event: Event) => follow(event.currentTarget as HTMLTextAreaElement),
    }),
  );
}

function Line({ line, mistakes }: { readonly line: string; readonly mistakes: readonly Mistake[] }): ComponentChildren {
  const [first, ...more] = mistakes;
  return h(
    "div",
    { class: first === undefined ? "line" : "line line-bad" },
    coloured(line),
    first !== undefined &&
      h(
        "span",
        { class: "line-mistake" },
        withoutPlace(first.message),
        more.length > 0 && ` (and ${more.length} more)`,
      ),
    // An empty line keeps its height.
    "\n",
  );
}

/** Keys, strings, other values; no parser, so it holds for a broken text too. */
function coloured(line: string): ComponentChildren {
  return line.split(/("(?:[^"\\]|\\.)*"?\s*:?)/).map((part) => {
    if (!part.startsWith('"')) return part;
    return h("span", { class: part.endsWith(":") ? "json-key" : "json-string" }, part);
  });
}

/** `shape.columns[1].path: is …` as `path: is …`: which column it is, its line tells. */
function withoutPlace(message: string): string {
  return message.replace(/^[^\s:]*\.(?=[^\s:]*: )/, "");
}
