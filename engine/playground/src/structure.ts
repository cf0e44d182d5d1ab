/** The form that an answer is to have: a schema, an expression, some strings or a grammar. */

import type { Fields } from "./api";
import { find } from "./dom";

const EXAMPLES: Record<string, string> = {
  json: JSON.stringify(
    {
      type: "object",
      properties: {
        city: { type: "string", maxLength: 40 },
        country: { type: "string", maxLength: 40 },
        people: { type: "integer", minimum: 0, maximum: 40_000_000 },
      },
      required: ["city", "country", "people"],
      additionalProperties: false,
    },
    null,
    2,
  ),
  regex: "[A-Z][a-z]+, (18|19|20)[0-9]{2}",
  choice: "yes\nno\nperhaps",
  grammar: 'start: "The " WORD " is " WORD "."\nWORD: /[a-z]+/',
};
const HELP: Record<string, string> = {
  json: "A JSON schema, draft 2020-12.",
  regex: "The whole answer matches it.",
  choice: "One string a line; the answer is one of them.",
  grammar: "In Lark's syntax, or in GBNF.",
};

export class StructureForm {
  readonly #kind = find("#form-kind", HTMLSelectElement);
  readonly #text = find("#form-text", HTMLTextAreaElement);
  readonly #help = find("#form-help", HTMLElement);
  readonly #problem = find("#form-problem", HTMLElement);
  #typed: Record<string, string> = {};

  constructor() {
    this.#kind.addEventListener("change", () => this.#show());
    this.#text.addEventListener("input", () => {
      this.#typed[this.#kind.value] = this.#text.value;
      this.#check();
    });
    this.#show();
  }

  get isAsked(): boolean {
    return this.#kind.value !== "";
  }

  /** Return the field of a request that asks for the form; undefined if it is wrong, and say so. */
  values(isQuiet = false): Fields | undefined {
    if (!this.isAsked) return {};
    if (!this.#check()) {
      if (!isQuiet) this.#text.focus();
      return undefined;
    }
    return { structured_outputs: { [this.#kind.value]: this.#value() } };
  }

  complain(problem: string): void {
    this.#problem.textContent = problem;
  }

  typed(): { kind: string; text: string } | undefined {
    return this.isAsked ? { kind: this.#kind.value, text: this.#text.value } : undefined;
  }

  type(typed: { kind: string; text: string } | undefined): void {
    this.#kind.value = typed && typed.kind in EXAMPLES ? typed.kind : "";
    if (typed) this.#typed[typed.kind] = typed.text;
    this.#show();
  }

  #show(): void {
    const kind = this.#kind.value;
    this.#text.hidden = this.#help.hidden = !kind;
    this.#text.value = this.#typed[kind] ?? EXAMPLES[kind] ?? "";
    this.#help.textContent = HELP[kind] ?? "";
    this.#check();
  }

  #value(): unknown {
    const text = this.#text.value;
    switch (this.#kind.value) {
      case "json":
        return JSON.parse(text);
      case "choice":
        return text.split("\n").filter(Boolean);
      default:
        return text;
    }
  }

  #check(): boolean {
    let problem = "";
    try {
      if (this.isAsked) this.#value();
    } catch (error) {
      problem = error instanceof Error ? error.message : String(error);
    }
    this.complain(problem);
    return problem === "";
  }
}
