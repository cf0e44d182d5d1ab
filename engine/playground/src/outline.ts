/** The list of all branches: those of the prompt that was asked last, and those of earlier ones folded away. */

import type { Branch, Forest } from "./branches";
import { find, make } from "./dom";
import { textOf } from "./token";

export class Outline {
  readonly #section = find("#tree", HTMLElement);
  readonly #list = find("#branches", HTMLElement);
  readonly #open = new Set<string>();

  constructor(
    readonly forest: Forest,
    readonly onChoose: (branch: Branch) => void,
  ) {}

  /** @param prompt The one whose branches come first, and are not folded away. */
  draw(prompt: string): void {
    const earlier = this.forest.prompts.filter((each) => each !== prompt).reverse();
    this.#section.hidden = this.forest.branches.length === 0;
    this.#list.replaceChildren(
      ...this.#items(this.forest.rootsOf(prompt)),
      ...earlier.map((each) => this.#folded(each)),
    );
  }

  /** Mark the branches that are shown. */
  mark(shown: Branch[]): void {
    const ids = shown.map(({ id }) => String(id));
    for (const button of this.#list.querySelectorAll("button"))
      button.setAttribute("aria-current", String(ids.includes(button.dataset.branch ?? "")));
  }

  #folded(prompt: string): HTMLElement {
    const count = this.forest.of(prompt).length;
    const told = ` ${count} ${count === 1 ? "branch" : "branches"} of an earlier prompt`;
    const folded = make(
      "details",
      { class: "earlier", open: this.#open.has(prompt) },
      make("summary", {}, beginning(prompt), make("span", { class: "help" }, told)),
      make("ol", {}, ...this.#items(this.forest.rootsOf(prompt))),
    );
    folded.addEventListener("toggle", () => {
      if (folded.open) this.#open.add(prompt);
      else this.#open.delete(prompt);
    });
    return make("li", {}, folded);
  }

  #items(branches: Branch[]): HTMLElement[] {
    return branches.map((branch) => {
      const place = branch.parent ? `from token ${branch.at + 1}` : "from the prompt";
      const button = make(
        "button",
        { type: "button", "data-branch": String(branch.id), click: () => this.onChoose(branch) },
        make("b", {}, String(branch.id + 1)),
        ` ${beginning(textOf(branch.tokens))} `,
        make("span", { class: "help" }, place),
      );
      const children = this.#items(this.forest.childrenOf(branch));
      return make("li", {}, button, ...(children.length ? [make("ol", {}, ...children)] : []));
    });
  }
}

function beginning(text: string): string {
  return text.trim().slice(0, 60) || "…";
}
