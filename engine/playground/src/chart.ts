/** Bars with a scale. */

import { make } from "./dom";

export interface Bar {
  label: string;
  value: number;
}

export interface Scale {
  /** What the bars are, for the line below them. */
  what: string;
  unit: string;
  /** What stands at the two ends of the axis; by default each bar has its own label. */
  ends: string[];
}

/** Draw values as bars over an axis, beside a scale from 0 to a round number.
 *
 * @param places How many bars there is room for.
 */
export function chart(bars: Bar[], { what, unit, ends }: Scale, places: number): HTMLElement {
  const most = Math.max(...bars.map(({ value }) => value), 0);
  const top = rounded(most);
  const drawn = bars.map(({ label, value }) => {
    const bar = make("span", { title: `${label && `${label}: `}${figure(value)} ${unit}` });
    bar.style.blockSize = `${(100 * value) / top}%`;
    bar.style.inlineSize = `${100 / Math.max(places, 1)}%`;
    return bar;
  });
  const scale = [`${figure(top)} ${unit}`, figure(top / 2), "0"].map((text) => make("span", {}, text));
  const labels = ends.length ? ends : bars.map(({ label }) => label);
  const axis = make("div", { class: "axis" }, ...labels.map((label) => make("span", {}, label)));
  axis.classList.toggle("between", ends.length > 0);
  return make(
    "figure",
    {},
    make(
      "div",
      { class: "chart", "aria-hidden": "true" },
      make("div", { class: "scale" }, ...scale),
      make("div", { class: "bars" }, ...drawn),
      axis,
    ),
    make("figcaption", {}, bars.length ? `${what}; at most ${figure(most)} ${unit}` : what),
  );
}

/** The least of 1, 2 and 5 times a power of ten that is not below a value. */
function rounded(value: number): number {
  if (value <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return ([1, 2, 5].find((each) => each * power >= value) ?? 10) * power;
}

function figure(value: number): string {
  return String(Number(value.toPrecision(3)));
}
