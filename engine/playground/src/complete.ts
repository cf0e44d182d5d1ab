/** The tab that continues a text: choices side by side, and branches from any token. */

import type { Asked, Choice, Completion, Fields, Usage } from "./api";
import { type Branch, Forest } from "./branches";
import { announce, copyText, download, find, make, notify } from "./dom";
import { Outline } from "./outline";
import type { Session } from "./session";
import { TextView, type TokenEvents } from "./text";
import {
  type Alternative,
  canBeChosen,
  chosenFor,
  counted,
  idsOf,
  measured,
  speed,
  type Token,
  TokenReader,
  textOf,
} from "./token";

const PATH = "/v1/completions";

/** Where an answer begins: behind a prompt, or behind the first tokens of one of its branches. */
interface Place {
  prompt: string;
  parent: Branch | null;
  at: number;
  /** Tokens that the answer begins with: what was clicked. */
  first: Token[];
}

interface Column {
  branch: Branch;
  element: HTMLElement;
  /** The prompt it is behind, which is told once there are several. */
  prompt: HTMLElement;
  view: TextView;
  status: HTMLElement;
  more: HTMLButtonElement;
}

export class CompleteTab {
  readonly #prompt = find("#prompt", HTMLTextAreaElement);
  readonly #columns = find("#columns", HTMLElement);
  readonly #usage = find("#usage", HTMLElement);
  readonly #forest = new Forest();
  readonly #outline = new Outline(this.#forest, (branch) => this.#choose(branch));
  #shown: Column[] = [];
  #pinned = new Set<Branch>();
  #last: Place | null = null;
  /** What was asked for last. */
  #latest: Branch[] = [];

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

  /** Continue the prompt. */
  async complete(): Promise<void> {
    if (!(await this.session.ready())) return;
    this.#ask({ prompt: this.prompt, parent: null, at: 0, first: [] }, this.#shown);
  }

  /** Return the request that "Complete" would send; undefined if something that was typed is wrong. */
  asked(isQuiet = false): Asked | undefined {
    const given = this.session.request(isQuiet);
    return given && { path: PATH, fields: { ...this.#with(given, this.prompt), stream: true } };
  }

  /** Ask once more for what was asked last. */
  regenerate(): void {
    const latest = this.#shown.filter(({ branch }) => this.#latest.includes(branch));
    if (this.#last?.prompt === this.prompt)
      this.#ask({ ...this.#last }, latest.length ? latest : this.#shown);
    else this.complete();
  }

  export(): void {
    const forest = { model: this.session.model.id, ...this.#forest.export() };
    download("branches.json", "application/json", JSON.stringify(forest, null, 2));
  }

  /** Ask for choices behind a place, and show them instead of what is shown of others. */
  async #ask(place: Place, instead: Column[]): Promise<void> {
    const given = this.session.request();
    if (!given) return;
    this.#last = place;
    const { prompt, parent, at, first } = place;
    this.#usage.textContent = "";
    const begun = parent && [...parent.path.slice(0, at), ...first];
    const fields = this.#with(begun ? this.#goingOn(given, parent, begun) : given, prompt);
    await this.session.run((signal) => this.#stream(fields, place, instead, signal));
    this.#outline.draw(prompt);
    this.#tellShown();
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

  async #stream(fields: Fields, place: Place, instead: Column[], signal: AbortSignal) {
    const { prompt, parent, at, first } = place;
    const columns: Column[] = [];
    const readers = new Map<number, TokenReader>();
    const began = performance.now();
    const given = Array.isArray(fields.resume_token_ids) ? fields.resume_token_ids.length : 0;
    let ended = 0;
    const start = () => {
      const count = Number(fields.n ?? 1);
      for (let index = 0; index < count; index++) {
        const branch = this.#forest.grow(prompt, parent, at, fields);
        branch.tokens.push(...first);
        columns.push(this.#column(branch));
      }
      this.#latest = columns.map(({ branch }) => branch);
      this.#outline.draw(prompt);
      this.#show(columns, instead);
      if (first.length) columns[0]?.view.element.focus({ preventScroll: true });
      for (const { view } of [...columns].reverse()) view.follow(); // the first has the last word
    };
    const seconds = () => (performance.now() - began) / 1000;
    const read = (choice: Choice, column: Column) => {
      const { branch, status, view } = column;
      const reader = readers.get(choice.index) ?? new TokenReader();
      readers.set(choice.index, reader);
      const tokens = reader.read(choice);
      branch.tokens.push(...tokens);
      view.append(tokens);
      status.textContent = `${counted(branch.tokens)} so far`;
      if (choice.finish_reason) {
        branch.finishReason = choice.finish_reason;
        this.#end(column, first);
        ended += 1;
      }
    };
    try {
      for await (const chunk of this.session.api.stream<Completion>(PATH, fields, signal)) {
        if (!columns.length) start(); // what is refused leaves nothing behind
        if (chunk.usage) this.#tellUsage(chunk.usage, given, seconds());
        for (const choice of chunk.choices) {
          const column = columns[choice.index];
          if (column) read(choice, column);
        }
      }
    } catch (error) {
      this.#interrupt(columns, signal.aborted);
      const generated = columns.reduce((sum, { branch }) => sum + branch.tokens.length - first.length, 0);
      if (generated && this.#last === place) this.#usage.textContent = speed(generated, seconds());
      throw error;
    }
    announce(`${ended} ${ended === 1 ? "choice is" : "choices are"} complete.`);
  }

  /** Tell of branches that ended before the server ended them. */
  #interrupt(columns: Column[], isStopped: boolean): void {
    for (const column of columns) {
      const { branch } = column;
      if (branch.finishReason === null) branch.interruption = isStopped ? "stopped by you" : "broken off";
      this.#tellStatus(column);
    }
  }

  /** Tell how a branch ended. A token that was chosen and is its end, such as an end token, adds no text. */
  #end(column: Column, first: Token[]): void {
    const { branch } = column;
    const [chosen] = first;
    if (chosen && branch.tokens.length === 1 && branch.finishReason === "stop" && !branch.hasForm) {
      branch.tokens[0] = { ...chosen, text: "" };
      if (!this.#shown.includes(column)) return;
      const again = this.#column(branch);
      this.#show([again], [column]);
      again.view.element.focus({ preventScroll: true });
    }
    this.#tellStatus(column);
  }

  /** Show columns in the place of others, of which those that are pinned stay. */
  #show(columns: Column[], instead: Column[]): void {
    const gone = instead.filter(({ branch }) => !this.#pinned.has(branch));
    const kept = this.#shown.filter((column) => !gone.includes(column));
    const added = columns.filter(({ branch }) => !kept.some((column) => column.branch === branch));
    const first = this.#shown.findIndex((column) => gone.includes(column));
    const place = first < 0 ? kept.length : first;
    for (const { element } of gone) element.remove();
    for (const { element } of added) this.#columns.insertBefore(element, kept[place]?.element ?? null);
    this.#shown = [...kept.slice(0, place), ...added, ...kept.slice(place)];
    this.session.inspector.close();
    this.#tellShown();
  }

  #close(column: Column): void {
    this.#pinned.delete(column.branch);
    this.#show([], [column]);
    this.#shown[0]?.view.element.focus();
  }

  /** Mark what is shown in the list, and explain what is seen of it. */
  #tellShown(): void {
    const branches = this.#shown.map(({ branch }) => branch);
    this.#outline.mark(branches);
    const hasOne = this.#forest.prompts.length < 2;
    for (const { prompt } of this.#shown) prompt.hidden = hasOne;
    find("#forced-legend", HTMLElement).hidden = !branches.some((branch) => branch.hasForm);
    find("#begin-legend", HTMLElement).hidden = branches.every((branch) => branch.parent === null);
  }

  #column(branch: Branch): Column {
    const name = `Branch ${branch.id + 1}`;
    const events: TokenEvents = {
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
    };
    const view = new TextView(name, events, branch.parent ? branch.at : -1);
    view.append(branch.path);
    const status = make("span", { class: "status" });
    const pin = make(
      "button",
      {
        type: "button",
        "aria-pressed": String(this.#pinned.has(branch)),
        title: "Keeps this branch here while you look at others",
      },
      "Pin",
    );
    pin.addEventListener("click", () => {
      const isPinned = this.#pinned.delete(branch) ? false : !!this.#pinned.add(branch);
      pin.setAttribute("aria-pressed", String(isPinned));
    });
    const more = make("button", { type: "button", click: () => this.#continue(branch) }, "Continue");
    const copy = make("button", { type: "button", click: () => this.#copy(branch) }, "Copy text");
    const close = make("button", { type: "button", class: "close", "aria-label": `Close ${name}` }, "×");
    close.addEventListener("click", () => this.#close(column));
    const buttons = make("div", { class: "actions" }, pin, more, copy);
    const head = make("header", {}, make("h2", {}, name), close, status, buttons);
    const prompt = make("p", { class: "help behind", title: branch.prompt }, `behind “${branch.prompt}”`);
    const element = make(
      "article",
      { class: "column", "data-branch": String(branch.id) },
      head,
      prompt,
      view.element,
    );
    const column = { branch, element, prompt, view, status, more };
    this.#tellStatus(column);
    return column;
  }

  #tellStatus({ branch, status, more }: Column): void {
    more.disabled = !branch.canGoOn;
    const figures = branch.tokens.length ? measured(branch.tokens) : "";
    status.textContent = [branch.ending, figures].filter(Boolean).join(" · ");
  }

  #branch(branch: Branch, index: number, alternative: Alternative): void {
    const token = branch.path[index];
    if (!token) return;
    this.session.inspector.close();
    const first = [chosenFor(token, alternative)];
    this.#ask({ prompt: branch.prompt, parent: branch, at: index, first }, this.#columnsOf(branch));
  }

  #continue(branch: Branch): void {
    const place = { prompt: branch.prompt, parent: branch, at: branch.kept, first: [] };
    this.#ask(place, this.#columnsOf(branch));
  }

  #columnsOf(branch: Branch): Column[] {
    return this.#shown.filter((column) => column.branch === branch);
  }

  /** Show a branch of the list, and its prompt, unless that would lose one that was typed and not asked yet. */
  #choose(branch: Branch): void {
    if (this.#forest.prompts.includes(this.prompt)) this.prompt = branch.prompt;
    this.#prompt.dispatchEvent(new Event("change", { bubbles: true })); // for what follows it, as "Copy as"
    const [shown] = this.#columnsOf(branch);
    if (shown) shown.element.scrollIntoView({ block: "nearest" });
    else this.#show([this.#column(branch)], this.#shown);
  }

  async #copy(branch: Branch): Promise<void> {
    const isCopied = await copyText(branch.prompt + textOf(branch.path));
    notify(isCopied ? "Copied." : "The browser does not let the page copy.");
  }

  /** Tell what was computed. Tokens that were given count in the usage, and were not generated now. */
  #tellUsage(usage: Usage, given: number, seconds: number): void {
    const { prompt_tokens, prompt_tokens_details } = usage;
    const generated = usage.completion_tokens - given;
    const cached = prompt_tokens_details.cached_tokens;
    this.#usage.textContent = `${prompt_tokens} prompt tokens${cached ? ` (${cached} cached)` : ""}, ${speed(generated, seconds)}`;
  }

  /** Let the text box be as high as its text, within limits that the style has. */
  #grow(): void {
    this.#prompt.style.height = "auto";
    this.#prompt.style.height = `${this.#prompt.scrollHeight + 2}px`;
  }
}
