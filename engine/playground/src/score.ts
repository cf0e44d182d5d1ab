/** The tab that shows where a model is surprised by a text; two texts stand side by side. */

import type { Completion, Fields } from "./api";
import { find, make } from "./dom";
import type { Session } from "./session";
import { TextView } from "./text";
import { figure, percent, perplexity, type Token, TokenReader, textOf, visible } from "./token";

const PATH = "/v1/completions";
const MOST_SURPRISING = 8;
/** What is more probable than this is no surprise. */
const SURPRISING = Math.log(0.2);
/** Tokens that are shown before a surprising one. */
const CONTEXT = 4;

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
    const boxes = this.#texts.filter((box) => box.value);
    const texts = boxes.map((box) => box.value);
    if (!texts.length) {
      this.#results.replaceChildren(make("p", {}, "There is nothing to score: type or paste a text above."));
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
        ...scored.map((tokens, i) => {
          const name = boxes[i] === this.#texts[1] ? "Text B" : "Text A";
          return this.#column(tokens, name, values.length > 1 && values[i] === least);
        }),
      );
    });
  }

  #column(tokens: Token[], name: string, isLeast: boolean): HTMLElement {
    const { value, count, mean } = perplexity(tokens);
    const figures = `perplexity ${figure(value, 4)} over ${count} tokens, mean log-probability ${mean.toFixed(3)}`;
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
    return make(
      "article",
      { class: "column" },
      make("header", {}, make("h2", {}, name), status),
      view.element,
      make("h3", {}, "Most surprising"),
      surprises(tokens),
    );
  }
}

/** List the most surprising tokens, each behind a little of what is before it. */
function surprises(tokens: Token[]): HTMLElement {
  const found = tokens
    .flatMap(({ logprob }, index) => (logprob !== null && logprob < SURPRISING ? [{ index, logprob }] : []))
    .sort((a, b) => a.logprob - b.logprob)
    .slice(0, MOST_SURPRISING);
  if (!found.length) return make("p", { class: "help" }, "Nothing: each token had 20 % or more.");
  const items = found.map(({ index, logprob }) => {
    const before = textOf(tokens.slice(Math.max(0, index - CONTEXT), index));
    const name = tokens[index]?.name ?? "";
    return make(
      "li",
      {},
      make("span", { class: "before" }, `${index > CONTEXT ? "…" : ""}${before}`),
      make("code", {}, visible(name)),
      ` ${percent(logprob)}`,
    );
  });
  return make("ol", { class: "surprising" }, ...items);
}
