/** The tab that shows the running server: its slots, its cache, its queue, and what its steps cost. */

import { ApiError } from "./api";
import { chart } from "./chart";
import { find, make } from "./dom";
import type { Session } from "./session";

const EVERY_MS = 1000;
const HISTORY = 60;

interface Slot {
  slot: number;
  phase: string;
  prompt_tokens: number;
  generated_tokens: number;
  max_tokens: number;
  preempted: number;
  /** Parts of the KV cache from its beginning: a part with the same number is the same cells. */
  runs: { part: number; tokens: number }[];
}

interface State {
  model: string;
  uptime_seconds: number;
  slots: Slot[];
  n_slots: number;
  waiting: number;
  kv: { cells: number; used: number; deferred: number; saved_prefixes: number };
  totals: Record<string, number>;
  step_ms: Record<string, number>;
}

interface Moment {
  at: number;
  state: State;
}

export class ServerTab {
  readonly #figures = find("#figures", HTMLElement);
  readonly #slots = find("#slots", HTMLElement);
  readonly #idle = find("#idle", HTMLElement);
  readonly #speed = find("#speed", HTMLElement);
  readonly #cost = find("#cost", HTMLElement);
  #moments: Moment[] = [];
  #timer = 0;

  constructor(readonly session: Session) {}

  /** Look at the server every second until it is hidden; not without a key where one is needed. */
  show(): void {
    this.hide();
    this.#moments = [];
    if (this.session.fields) this.#look();
  }

  hide(): void {
    clearTimeout(this.#timer);
    this.#timer = 0;
  }

  async #look(): Promise<void> {
    const timer = window.setTimeout(() => this.#look(), EVERY_MS);
    this.#timer = timer;
    try {
      const state = await this.session.api.get<State>("/state");
      if (this.#timer !== timer) return; // hidden meanwhile
      this.session.tell("");
      this.#moments = [...this.#moments, { at: performance.now(), state }].slice(-HISTORY);
      this.#draw(state);
    } catch (error) {
      if (this.#timer !== timer) return;
      this.hide();
      if (error instanceof ApiError && error.needsKey) {
        await this.session.run(this.session.load); // which shows this tab again; else the banner offers to
        return;
      }
      this.session.complain(error);
      this.#timer = window.setTimeout(() => this.#look(), EVERY_MS);
    }
  }

  #draw(state: State): void {
    const { kv, totals } = state;
    const share = (part: number, whole: number) => (whole ? `${((100 * part) / whole).toFixed(0)} %` : "–");
    const total = (name: string) => totals[name] ?? 0;
    const figures: [name: string, value: string, meaning?: string][] = [
      ["model", state.model],
      ["up", duration(state.uptime_seconds)],
      ["running", `${state.slots.length} of ${state.n_slots}`],
      ["waiting", String(state.waiting)],
      ["tokens/s", this.#rate("completion_tokens").toFixed(1)],
      ["requests", String(total("requests"))],
      ["KV cache", `${kv.used} of ${kv.cells} (${share(kv.used, kv.cells)})`],
      [
        "saved prefixes",
        String(kv.saved_prefixes),
        "beginnings of prompts, kept outside of the KV cache so that they need not be computed again",
      ],
      ["prompt tokens from the cache", share(total("cached_tokens"), total("prompt_tokens"))],
      [
        "guesses that were right",
        share(total("accepted_tokens"), total("drafted_tokens")),
        "of the tokens guessed from the text before; each right one spares a step",
      ],
      ["forced by a form", String(total("forced_tokens"))],
    ];
    this.#figures.replaceChildren(
      ...figures.map(([name, value, meaning]) =>
        make(
          "div",
          {},
          make("dt", {}, name),
          make("dd", {}, value),
          ...(meaning ? [make("dd", { class: "help" }, meaning)] : []),
        ),
      ),
    );
    this.#idle.hidden = state.slots.length > 0;
    this.#slots.replaceChildren(...state.slots.map((slot) => this.#row(slot, kv.cells)));
    const seconds = (HISTORY * EVERY_MS) / 1000;
    const speed = { what: "tokens generated", unit: "tokens/s", ends: [`${seconds} s ago`, "now"] };
    this.#speed.replaceChildren(chart(this.#rates("completion_tokens"), speed, HISTORY));
    const cost = Object.entries(state.step_ms).map(([width, ms]) => ({ label: width, value: ms }));
    const step = { what: "a step, by tokens decoded in it", unit: "ms", ends: [] };
    this.#cost.replaceChildren(chart(cost, step, cost.length));
  }

  #row(slot: Slot, cells: number): HTMLElement {
    const runs = slot.runs.map(({ part, tokens }) => {
      const run = make("span", { class: `run part${part % 8}`, title: `${tokens} tokens` });
      run.style.inlineSize = `${(100 * tokens) / cells}%`;
      return run;
    });
    const held = slot.runs.reduce((sum, run) => sum + run.tokens, 0);
    const words = [
      `slot ${slot.slot}`,
      slot.phase,
      `${held} tokens in the cache`,
      `${slot.generated_tokens} of ${slot.max_tokens} generated`,
      slot.preempted ? `preempted ${slot.preempted}×` : "",
    ];
    return make(
      "li",
      {},
      make("span", { class: "runs", "aria-hidden": "true" }, ...runs),
      make("span", { class: "help" }, words.filter(Boolean).join(" · ")),
    );
  }

  #rates(name: string): { label: string; value: number }[] {
    return this.#moments.slice(1).map((moment, i) => {
      const before = this.#moments[i] ?? moment;
      const tokens = (moment.state.totals[name] ?? 0) - (before.state.totals[name] ?? 0);
      return { label: "", value: (1000 * tokens) / Math.max(moment.at - before.at, 1) };
    });
  }

  #rate(name: string): number {
    const last = this.#rates(name).slice(-3);
    return last.reduce((sum, { value }) => sum + value, 0) / Math.max(last.length, 1);
  }
}

function duration(seconds: number): string {
  const minutes = Math.floor(seconds / 60);
  const parts: [number, string][] = [
    [Math.floor(minutes / 1440), "d"],
    [Math.floor(minutes / 60) % 24, "h"],
    [minutes % 60, "min"],
  ];
  const told = parts.filter(([count]) => count).map(([count, unit]) => `${count} ${unit}`);
  return told.join(" ") || `${Math.floor(seconds)} s`;
}
