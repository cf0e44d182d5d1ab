/** The tab that shows where a model is surprised by a text; two texts stand side by side. */

import type { Completion, Fields } from "./api";
import { find, make } from "./dom";
import type { Session } from "./session";
import { TextView } from "./text";
import { percent, perplexity, type Token, TokenReader, visible } from "./token";

const PATH = "/v1/completions";
const MOST_SURPRISING = 8;

export class ScoreTab {
  readonly #texts = [find("#score-a", HTMLTextAreaElement), find("#score-b", HTMLTextAreaElement)];
  readonly #results = find("#scores", HTMLElement);

  constructor(readonly session: Session) {
    find("#score", HTMLButtonElement).addEventListener("click", () => this.score());
  }

  /** The texts as they were typed; undefined if all are empty. */
  get texts(): string[] | undefined {
    const texts = this.#texts.map((box) => box.value);
    return texts.some(Boolean) ? texts : undefined;
  }

  set texts(texts: string[]) {
    this.#texts.forEach((box, i) => {
      box.value = texts[i] ?? "";
    });
  }

  async score(): Promise<void> {
    if (!(await this.session.ready())) return;
    const texts = this.#texts.map((box) => box.value).filter(Boolean);
    if (!texts.length) {
      this.#texts[0]?.focus();
      return;
    }
    const fields: Fields = {
      model: this.session.model.id,
      prompt: texts.length === 1 ? texts[0] : texts,
      max_tokens: 0,
      echo: true,
      logprobs: this.session.logprobs,
    };
    await this.session.run(async (signal) => {
      const answer = await this.session.api.post<Completion>(PATH, fields, signal);
      const scored = answer.choices.map((choice) => new TokenReader().read(choice));
      const values = scored.map((tokens) => perplexity(tokens).value);
      const least = Math.min(...values);
      this.#results.replaceChildren(
        ...scored.map((tokens, i) => this.#column(tokens, i, values.length > 1 && values[i] === least)),
      );
    });
  }

  #column(tokens: Token[], index: number, isLeast: boolean): HTMLElement {
    const name = `Text ${"AB"[index]}`;
    const { value, count, mean } = perplexity(tokens);
    const figures = `perplexity ${value.toPrecision(4)} over ${count} tokens (${mean.toFixed(3)} nats each)`;
    const status = make(
      "span",
      { class: "status" },
      isLeast ? `${figures}, the less surprising one` : figures,
    );
    const view = new TextView(name, {
      onLook: (shown, at, element) => {
        const token = shown.tokens[at];
        if (token) this.session.inspector.show(token, element);
      },
      onLeave: () => this.session.inspector.hideSoon(),
    });
    view.append(tokens);
    const surprising = tokens
      .flatMap((token) => (token.logprob === null ? [] : [{ name: token.name, logprob: token.logprob }]))
      .sort((a, b) => a.logprob - b.logprob)
      .slice(0, MOST_SURPRISING)
      .map(({ name: text, logprob }) =>
        make("li", {}, make("code", {}, visible(text)), ` ${percent(logprob)}`),
      );
    return make(
      "article",
      { class: "column" },
      make("header", {}, make("h2", {}, name), status),
      view.element,
      make("h3", {}, "Most surprising"),
      make("ol", { class: "surprising" }, ...surprising),
    );
  }
}
