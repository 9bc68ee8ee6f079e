import { h, type ComponentChildren } from "preact";
import { formatRate } from "./format.ts";

const WIDTH = 240;
const HEIGHT = 40;

/** Rates over time, newest at the right; `span` points fill the width, however few there are yet. */
export function RateChart(props: {
  readonly points: readonly number[];
  readonly span: number;
  /** Shows the highest value and a base line. */
  readonly hasScale?: boolean;
}): ComponentChildren {
  const points = props.points.slice(-props.span);
  // Half an event a second is no mountain.
  const highest = Math.max(1, ...points);
  const step = WIDTH / (props.span - 1);
  const start = WIDTH - (points.length - 1) * step;
  const line = points
    .map(
      (value, index) =>
        `${(start + index * step).toFixed(1)},${(HEIGHT - 1 - (value / highest) * (HEIGHT - 3)).toFixed(1)}`,
    )
    .join(" L");
  const chart = h(
    "svg",
    { class: "chart", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" },
    points.length > 1 &&
      h("path", { class: "chart-area", d: `M${start.toFixed(1)},${HEIGHT} L${line} L${WIDTH},${HEIGHT} Z` }),
    points.length > 1 && h("path", { class: "chart-line", d: `M${line}` }),
  );
  if (props.hasScale !== true) return chart;
  return h(
    "div",
    { class: "chart-frame" },
    chart,
    h("span", { class: "chart-highest" }, points.length > 1 ? `${formatRate(highest)} /s` : ""),
  );
}
