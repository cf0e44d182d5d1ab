/** The tab that continues a text: choices side by side, and branches from any token. */

import type { Asked, Completion, Fields, Usage } from "./api";
import { type Branch, Tree } from "./branches";
import { announce, copyText, download, find, make, notify } from "./dom";
import type { Session } from "./session";
import { TextView } from "./text";
import {
  type Alternative,
  canBeChosen,
  chosenFor,
  idsOf,
  perplexity,
  type Token,
  TokenReader,
  textOf,
} from "./token";

const PATH = "/v1/completions";

interface Column {
  branch: Branch;
  element: HTMLElement;
  view: TextView;
  status: HTMLElement;
  more: HTMLButtonElement;
}

export class CompleteTab {
  readonly #prompt = find("#prompt", HTMLTextAreaElement);
  readonly #columns = find("#columns", HTMLElement);
  readonly #branches = find("#branches", HTMLElement);
  readonly #usage = find("#usage", HTMLElement);
  #tree = new Tree("");
  #shown: Column[] = [];
  #pinned = new Set<Branch>();
  #last: { parent: Branch | null; at: number; first: Token[] } = { parent: null, at: 0, first: [] };

  constructor(readonly session: Session) {
    find("#complete", HTMLButtonElement).addEventListener("click", () => this.complete());
    find("#regenerate", HTMLButtonElement).addEventListener("click", () => this.regenerate());
    find("#export", HTMLButtonElement).addEventListener("click", () => this.export());
    this.#prompt.addEventListener("input", () => this.#grow());
  }

  get prompt(): string {
    return this.#prompt.value;
  }

  set prompt(text: string) {
    this.#prompt.value = text;
    this.#grow();
  }

  /** Continue the prompt; a prompt that was changed begins a new tree. */
  async complete(): Promise<void> {
    if (!(await this.session.ready())) return;
    if (this.#tree.prompt !== this.prompt || !this.#tree.branches.length) {
      this.#tree = new Tree(this.prompt);
      this.#pinned.clear();
    }
    this.#ask(null, 0);
  }

  /** Return the request that "Complete" would send; undefined if something that was typed is wrong. */
  asked(isQuiet = false): Asked | undefined {
    const given = this.session.request(isQuiet);
    return given && { path: PATH, fields: { ...this.#with(given, this.prompt), stream: true } };
  }

  /** Ask once more for what was asked last. */
  regenerate(): void {
    if (!this.#tree.branches.length || this.#tree.prompt !== this.prompt) this.complete();
    else this.#ask(this.#last.parent, this.#last.at, this.#last.first);
  }

  export(): void {
    const tree = { model: this.session.model.id, ...this.#tree.export() };
    download("branches.json", "application/json", JSON.stringify(tree, null, 2));
  }

  /** Ask for choices behind a place of the tree.
   *
   * @param first Tokens that each of them begins with: what was clicked.
   */
  async #ask(parent: Branch | null, at: number, first: Token[] = []): Promise<void> {
    const given = this.session.request();
    if (!given) return;
    this.#last = { parent, at, first };
    const begun = parent && [...parent.path.slice(0, at), ...first];
    const fields = this.#with(begun ? this.#goingOn(given, parent, begun) : given, this.#tree.prompt);
    await this.session.run((signal) => this.#stream(fields, parent, at, first, signal));
    this.#drawBranches();
  }

  #with(given: Fields, prompt: string): Fields {
    const { logprobs } = this.session;
    return { ...given, prompt, logprobs, return_token_ids: true, stream_options: { include_usage: true } };
  }

  /** Return the fields that let an answer go on behind its first tokens: one choice, of the form that it has.
   *
   * What is typed as `max_tokens` is how many more there may be; a request counts the whole answer.
   */
  #goingOn(given: Fields, branch: Branch, tokens: Token[]): Fields {
    const { n: _, structured_outputs: __, ...others } = given;
    const form = branch.fields.structured_outputs;
    const more = Number(given.max_tokens ?? this.session.fields?.fallback("max_tokens"));
    return {
      ...others,
      ...(form !== undefined && { structured_outputs: form }),
      max_tokens: tokens.length + more,
      resume_token_ids: idsOf(tokens),
    };
  }

  async #stream(fields: Fields, parent: Branch | null, at: number, first: Token[], signal: AbortSignal) {
    const columns: Column[] = [];
    const readers = new Map<number, TokenReader>();
    const began = performance.now();
    const given = Array.isArray(fields.resume_token_ids) ? fields.resume_token_ids.length : 0;
    let ended = 0;
    const start = () => {
      const count = Number(fields.n ?? 1);
      for (let index = 0; index < count; index++) {
        const branch = this.#tree.grow(parent, at, fields);
        branch.tokens.push(...first);
        columns.push(this.#column(branch));
      }
      this.#show(columns);
      this.#drawBranches();
    };
    for await (const chunk of this.session.api.stream<Completion>(PATH, fields, signal)) {
      if (!columns.length) start(); // what is refused leaves nothing behind
      if (chunk.usage) this.#tellUsage(chunk.usage, given, (performance.now() - began) / 1000);
      for (const choice of chunk.choices) {
        const column = columns[choice.index];
        if (!column) continue;
        const reader = readers.get(choice.index) ?? new TokenReader();
        readers.set(choice.index, reader);
        const tokens = reader.read(choice);
        column.branch.tokens.push(...tokens);
        column.view.append(tokens);
        if (choice.finish_reason) {
          column.branch.finishReason = choice.finish_reason;
          this.#end(column, first);
          ended += 1;
        }
      }
    }
    announce(`${ended} ${ended === 1 ? "choice is" : "choices are"} complete.`);
  }

  /** Tell how a branch ended. A token that was chosen and is its end, such as an end token, adds no text. */
  #end(column: Column, first: Token[]): void {
    const { branch } = column;
    const [chosen] = first;
    if (chosen && branch.tokens.length === 1 && branch.finishReason === "stop" && !branch.hasForm) {
      branch.tokens[0] = { ...chosen, text: "" };
      this.#show([this.#column(branch)]);
    }
    this.#tellStatus(column);
  }

  #show(columns: Column[]): void {
    const pinned = this.#shown.filter((column) => this.#pinned.has(column.branch));
    this.#shown = [...pinned, ...columns.filter((column) => !this.#pinned.has(column.branch))];
    this.#columns.replaceChildren(...this.#shown.map((column) => column.element));
    find("#forced-legend", HTMLElement).hidden = !this.#shown.some(({ branch }) => branch.hasForm);
    this.session.inspector.close();
  }

  #column(branch: Branch): Column {
    const name = `Branch ${branch.id + 1}`;
    const view = new TextView(name, {
      onLook: (shown, index, at) => {
        const token = shown.tokens[index];
        const [before, after] = [branch.path.slice(0, index), branch.path.slice(index)];
        const canBranch = idsOf(before) !== undefined;
        const choice = {
          isPossible: (each: Alternative) => canBranch && canBeChosen(each, after),
          choose: (each: Alternative) => this.#branch(branch, index, each),
        };
        if (token) this.session.inspector.show(token, at, choice);
      },
      onLeave: () => this.session.inspector.hideSoon(),
    });
    view.append(branch.path);
    const status = make("span", { class: "status" });
    const pin = make(
      "button",
      { type: "button", "aria-pressed": String(this.#pinned.has(branch)) },
      "Keep beside",
    );
    pin.addEventListener("click", () => {
      const isPinned = this.#pinned.delete(branch) ? false : !!this.#pinned.add(branch);
      pin.setAttribute("aria-pressed", String(isPinned));
    });
    const more = make("button", { type: "button", click: () => this.#ask(branch, branch.kept) }, "Continue");
    const copy = make("button", { type: "button", click: () => this.#copy(branch) }, "Copy text");
    const head = make("header", {}, make("h2", {}, name), status, pin, more, copy);
    const element = make(
      "article",
      { class: "column", "data-branch": String(branch.id) },
      head,
      view.element,
    );
    const column = { branch, element, view, status, more };
    this.#tellStatus(column);
    return column;
  }

  #tellStatus({ branch, status, more }: Column): void {
    more.disabled = !branch.canGoOn;
    const { value, count } = perplexity(branch.tokens);
    const figures = count ? `${count} tokens, perplexity ${value.toPrecision(3)}` : "";
    status.textContent = [branch.finishReason, figures].filter(Boolean).join(" · ");
  }

  #branch(branch: Branch, index: number, alternative: Alternative): void {
    const token = branch.path[index];
    if (!token) return;
    this.session.inspector.close();
    this.#ask(branch, index, [chosenFor(token, alternative)]);
  }

  async #copy(branch: Branch): Promise<void> {
    const isCopied = await copyText(this.#tree.prompt + textOf(branch.path));
    notify(isCopied ? "Copied." : "The browser does not let the page copy.");
  }

  #drawBranches(): void {
    find("#tree", HTMLElement).hidden = this.#tree.branches.length === 0;
    this.#branches.replaceChildren(...this.#items(null));
  }

  #items(parent: Branch | null): HTMLElement[] {
    return this.#tree.childrenOf(parent).map((branch) => {
      const place = branch.parent ? `from token ${branch.at + 1}` : "from the prompt";
      const text = textOf(branch.tokens).trim().slice(0, 60) || "…";
      const button = make(
        "button",
        { type: "button", click: () => this.#show([this.#column(branch)]) },
        make("b", {}, String(branch.id + 1)),
        ` ${text} `,
        make("span", { class: "help" }, place),
      );
      const children = this.#items(branch);
      return make("li", {}, button, ...(children.length ? [make("ol", {}, ...children)] : []));
    });
  }

  /** Tell what was computed. Tokens that were given count in the usage, and were not generated now. */
  #tellUsage(usage: Usage, given: number, seconds: number): void {
    const { prompt_tokens, prompt_tokens_details } = usage;
    const generated = usage.completion_tokens - given;
    const cached = prompt_tokens_details.cached_tokens;
    this.#usage.textContent =
      `${prompt_tokens} prompt tokens${cached ? ` (${cached} cached)` : ""}, ` +
      `${generated} generated in ${seconds.toFixed(1)} s, ${(generated / seconds).toFixed(1)} tokens/s`;
  }

  /** Let the text box be as high as its text, within limits that the style has. */
  #grow(): void {
    this.#prompt.style.height = "auto";
    this.#prompt.style.height = `${this.#prompt.scrollHeight + 2}px`;
  }
}
