import { h, render } from "preact";
import { Application } from "./application.ts";

const root = document.getElementById("root");
if (root !== null) {
  root.replaceChildren();
  render(h(Application, null), root);
}
