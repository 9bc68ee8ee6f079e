import { h, type ComponentChildren } from "preact";
import type { EntityStatus } from "./api-types.ts";
import { formatDate } from "./format.ts";

/** Which fields become which columns, and what is indexed. */
export function ShapePanel({ entity }: { readonly entity: EntityStatus }): ComponentChildren {
  const { id_column: idColumn, columns, indexes } = entity.shape;
  return h(
    "section",
    { class: "panel", "aria-labelledby": "shape-title" },
    h(
      "div",
      { class: "panel-head" },
      h("h2", { id: "shape-title" }, "Shape"),
      h(
        "span",
        { class: "muted small" },
        `${entity.client} / ${entity.source}, since ${formatDate(entity.created_at)}`,
      ),
    ),
    h(
      "div",
      { class: "scroll", tabIndex: 0, role: "region", "aria-labelledby": "shape-title" },
      h(
        "table",
        { class: "plain" },
        h(
          "thead",
          null,
          h(
            "tr",
            null,
            ["Column", "Type", "Path"].map((name) => h("th", { key: name, scope: "col" }, name)),
          ),
        ),
        h(
          "tbody",
          null,
          h(
            "tr",
            null,
            h("td", { class: "mono" }, "id", h("span", { class: "muted" }, " key")),
            h("td", null, idColumn.type),
            h("td", { class: "mono" }, idColumn.path),
          ),
          columns.map(({ name, type, path }) =>
            h(
              "tr",
              { key: name },
              h("td", { class: "mono" }, name),
              h("td", null, type),
              h("td", { class: "mono" }, path),
            ),
          ),
        ),
      ),
    ),
    indexes.length > 0 &&
      h(
        "dl",
        { class: "indexes" },
        indexes.map((index) =>
          h(
            "div",
            { key: index.name },
            h("dt", { class: "mono" }, index.name),
            h("dd", { class: "mono muted" }, index.columns.join(", ")),
          ),
        ),
      ),
  );
}
