import { h, type ComponentChildren } from "preact";
import { useEffect, useRef } from "preact/hooks";

/** Asks before an entity is deleted. The browser's dialog keeps the focus inside and closes with Escape. */
export function DeleteDialog(props: {
  readonly name: string;
  readonly onCancel: () => void;
  readonly onConfirm: () => void;
}): ComponentChildren {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => dialog.current?.showModal(), []);
  return h(
    "dialog",
    { ref: dialog, class: "dialog", "aria-labelledby": "delete-title", onClose: props.onCancel },
    h("h2", { id: "delete-title" }, `Delete ${props.name}?`),
    h(
      "p",
      null,
      "Its cache and snapshots are removed and it is not served any more. The collection in MongoDB stays as it is.",
    ),
    h(
      "div",
      { class: "actions" },
      h("button", { class: "button", type: "button", onClick: props.onCancel }, "Keep it"),
      h("button", { class: "button button-danger", type: "button", onClick: props.onConfirm }, "Delete"),
    ),
  );
}
