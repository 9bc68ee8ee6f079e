import type { EntityDefinition } from "@emcache/protocol";
import { h, type ComponentChildren } from "preact";
import { useRef, useState } from "preact/hooks";
import { ApiError, sendJson } from "./api-client.ts";
import type { EntityStatus, Health } from "./api-types.ts";
import { JsonEditor, type Mistake } from "./json-editor.ts";
import { jsonPlaces, offsetOfPlace } from "./json-places.ts";
import { ProblemText } from "./problem-text.ts";
import { hrefOf, navigate } from "./route.ts";

interface EntityEditorProps {
  /** The one to change; null: a new one. */
  readonly entity: EntityStatus | null;
  readonly health: Health | null;
  readonly onSaved: () => void;
}

/** Creates an entity or changes one. The server checks, and each of its mistakes is shown where it stands in the text. */
export function EntityEditor({ entity, health, onSaved }: EntityEditorProps): ComponentChildren {
  const [text, setText] = useState(() => definitionText(entity ?? example(health)));
  const [refused, setRefused] = useState<{ error: ApiError; mistakes: readonly Mistake[] } | null>(null);
  const [isSaving, setSaving] = useState(false);
  const area = useRef<HTMLTextAreaElement>(null);
  const save = async (): Promise<void> => {
    setSaving(true);
    try {
      const path = entity === null ? "/api/entities" : `/api/entities/${encodeURIComponent(entity.name)}`;
      const saved = await sendJson<EntityStatus>(entity === null ? "POST" : "PUT", path, text);
      onSaved();
      navigate({ kind: "entity", name: saved.name });
    } catch (failure) {
      const error = failure instanceof ApiError ? failure : new ApiError(String(failure), null);
      setRefused({ error, mistakes: mistakesIn(text, error) });
    } finally {
      setSaving(false);
    }
  };
  const onSubmit = (event: Event): void => {
    event.preventDefault();
    void save();
  };
  const mistakes = refused?.mistakes ?? [];
  const onKeyDown = (event: KeyboardEvent): void => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) void save();
  };
  return h(
    "form",
    { class: "stack editor-form", onSubmit, onKeyDown },
    h(
      "nav",
      { class: "breadcrumb", "aria-label": "Breadcrumb" },
      h("a", { href: hrefOf({ kind: "overview" }) }, "Entities"),
      h("span", { "aria-hidden": "true" }, "/"),
      h("span", { "aria-current": "page" }, entity?.name ?? "new"),
    ),
    h("h1", null, entity === null ? "New entity" : `Change ${entity.name}`),
    h("p", { class: "muted", id: "editor-help" }, entity === null ? NEW_HELP : CHANGE_HELP),
    h(JsonEditor, {
      text,
      mistakes,
      describedBy: "editor-help editor-mistakes",
      area,
      onInput: (next: string) => setText(next),
    }),
    h(
      "div",
      { id: "editor-mistakes" },
      refused !== null &&
        h(MistakeList, { ...refused, onPick: (mistake: Mistake) => goToLine(area.current, text, mistake.line) }),
    ),
    h(EditorActions, { entity, isSaving }),
  );
}

function EditorActions(props: { readonly entity: EntityStatus | null; readonly isSaving: boolean }): ComponentChildren {
  const { entity, isSaving } = props;
  const back = hrefOf(entity === null ? { kind: "overview" } : { kind: "entity", name: entity.name });
  const words = entity === null ? "Create entity" : "Save as a new version";
  return h(
    "div",
    { class: "actions" },
    h("button", { class: "button button-main", type: "submit", disabled: isSaving }, words),
    h("a", { class: "button", href: back }, "Cancel"),
    h("span", { class: "muted small" }, "Ctrl+Enter"),
  );
}

const NEW_HELP =
  "Each column takes one field of the document, by a JSONPath. The types are string, integer, number, bool, jsonb and any.";
const CHANGE_HELP =
  "A changed shape is a new version: it is copied beside the served one and replaces it once it is whole.";

function MistakeList(props: {
  readonly error: ApiError;
  readonly mistakes: readonly Mistake[];
  readonly onPick: (mistake: Mistake) => void;
}): ComponentChildren {
  const { error, mistakes, onPick } = props;
  if (mistakes.length === 0) return h(ProblemText, { error });
  return h(
    "div",
    { class: "notice notice-bad", role: "alert" },
    h("strong", null, mistakes.length === 1 ? "One mistake" : `${mistakes.length} mistakes`),
    h(
      "ul",
      { class: "mistakes" },
      mistakes.map((mistake) =>
        h(
          "li",
          { key: mistake.message },
          h("button", { class: "link", type: "button", onClick: () => onPick(mistake) }, `line ${mistake.line + 1}`),
          " ",
          h("span", null, mistake.message),
        ),
      ),
    ),
  );
}

/** The server's mistakes with their lines; a text that is no JSON has one, where reading it failed. */
function mistakesIn(text: string, error: ApiError): Mistake[] {
  const lineOf = (offset: number): number => text.slice(0, offset).split("\n").length - 1;
  try {
    JSON.parse(text);
  } catch (failure) {
    const message = failure instanceof Error ? failure.message : String(failure);
    const position = Number(/position (\d+)/.exec(message)?.[1] ?? text.trimEnd().length);
    return [{ message, line: lineOf(position) }];
  }
  const places = jsonPlaces(text);
  return (error.problem?.errors ?? []).map((message) => {
    const place = /^([^\s:]+):/.exec(message)?.[1] ?? "";
    return { message, line: lineOf(offsetOfPlace(places, place)) };
  });
}

function goToLine(area: HTMLTextAreaElement | null, text: string, line: number): void {
  const before = text.split("\n").slice(0, line).join("\n");
  const start = line === 0 ? 0 : before.length + 1;
  const length = text.slice(start).indexOf("\n");
  area?.focus();
  area?.setSelectionRange(start, length === -1 ? text.length : start + length);
}

/** As one writes it by hand: a line for each column and index. */
function definitionText(definition: EntityDefinition): string {
  const { name, client, source, shape, filter, on_reject, on_drop } = definition;
  const given = Object.entries({ name, client, source, filter, on_reject, on_drop }).filter(
    ([, value]) => value !== undefined,
  );
  const head = given.map(([key, value]) => `  "${key}": ${JSON.stringify(value)},`);
  const rows = (values: readonly object[]): string =>
    values.length === 0 ? "[]" : `[\n${values.map((value) => `      ${oneLine(value)}`).join(",\n")}\n    ]`;
  const shapeLines = [
    `    "id_column": ${oneLine(shape.id_column)}`,
    `    "columns": ${rows(shape.columns)}`,
    `    "indexes": ${rows(shape.indexes)}`,
  ];
  return `{\n${head.join("\n")}\n  "shape": {\n${shapeLines.join(",\n")}\n  }\n}`;
}

function oneLine(value: object): string {
  const members = Object.entries(value).map(([key, member]) => `"${key}": ${JSON.stringify(member)}`);
  return `{ ${members.join(", ")} }`;
}

/** Something to change rather than an empty field; the parts named `source.NAME` tell which sources there are. */
function example(health: Health | null): EntityDefinition {
  const source = Object.keys(health?.components ?? {}).find((name) => name.startsWith("source."));
  return {
    name: "users",
    client: source?.slice("source.".length) ?? "main",
    source: "users",
    shape: {
      id_column: { path: "$._id", type: "string" },
      columns: [
        { name: "email", type: "string", path: "$.email" },
        { name: "age", type: "integer", path: "$.age" },
      ],
      indexes: [{ name: "users_email", columns: ["email"] }],
    },
  };
}
