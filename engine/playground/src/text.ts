/** A text of tokens on the page: shaded, walked with the arrow keys, and quick to grow. */

import { announce, make } from "./dom";
import { isEndInView, showEnd } from "./follow";
import { type Alternative, describe, percent, shade, type Token, visible } from "./token";

export interface TokenEvents {
  /** A token is looked at. */
  onLook(view: TextView, index: number, element: HTMLElement): void;
  /** It no longer is. */
  onLeave(): void;
}

/** Shows tokens and tells which of them is looked at. */
export class TextView {
  readonly element: HTMLElement;
  readonly tokens: Token[] = [];
  #current: number;
  #waiting: Token[] = [];
  /** What grows, up to a line break: a browser lays out that alone, and of the others what is in view. */
  #line: HTMLElement | null = null;
  #frame = 0;
  #isFollowed = false;

  constructor(
    label: string,
    readonly events: TokenEvents,
    /** The token that a branch begins with; -1 where the text has no such place. */
    readonly begin = -1,
  ) {
    this.#current = Math.max(begin, 0) - 1;
    this.element = make("div", {
      class: "text",
      tabindex: "0",
      role: "group",
      "aria-label": `${label}. Arrow keys walk over its tokens, Enter goes to the alternatives.`,
    });
    this.element.addEventListener("pointerover", (event) => this.#look(event));
    this.element.addEventListener("pointerleave", () => events.onLeave());
    this.element.addEventListener("click", (event) => this.#look(event));
    this.element.addEventListener("keydown", (event) => this.#walk(event));
  }

  /** Add tokens; they are drawn together, once for each frame. */
  append(tokens: readonly Token[]): void {
    for (const token of tokens) {
      this.tokens.push(token);
      this.#waiting.push(token);
    }
    if (this.#waiting.length && !this.#frame) this.#frame = requestAnimationFrame(() => this.#draw());
  }

  /** Show the end, and follow it while tokens are added and the reader stays there. */
  follow(): void {
    this.#draw();
    showEnd(this.element);
    this.#isFollowed = true;
  }

  #draw(): void {
    this.#frame = 0;
    const isAtEnd = this.#isFollowed && isEndInView(this.element);
    let index = this.tokens.length - this.#waiting.length;
    for (const token of this.#waiting) {
      this.#line ??= this.element.appendChild(make("div", { class: "line" }));
      this.#line.append(this.#span(token, index));
      if (token.text.endsWith("\n")) this.#line = null;
      index += 1;
    }
    this.#waiting = [];
    if (isAtEnd) showEnd(this.element);
  }

  #span(token: Token, index: number): HTMLElement {
    const element = make("span", {
      class: `token ${shade(token)}`,
      "data-index": String(index),
    });
    element.textContent = token.text;
    element.classList.toggle("break", /^\s*\n/.test(token.text)); // it gets a mark to point at
    element.classList.toggle("nothing", token.text === "");
    element.classList.toggle("begin", index === this.begin);
    return element;
  }

  #look(event: Event): void {
    const element = event.target instanceof HTMLElement ? event.target.closest(".token") : null;
    if (element instanceof HTMLElement) this.#show(Number(element.dataset.index), element);
  }

  #walk(event: KeyboardEvent): void {
    const steps: Record<string, number> = {
      ArrowRight: this.#current + 1,
      ArrowLeft: this.#current - 1,
      Home: 0,
      End: this.tokens.length - 1,
    };
    const index = steps[event.key];
    if (index === undefined || index < 0 || index >= this.tokens.length) return;
    event.preventDefault();
    const element = this.element.querySelector(`[data-index="${index}"]`);
    const token = this.tokens[index];
    if (token && element instanceof HTMLElement) {
      element.scrollIntoView({ block: "nearest" });
      this.#show(index, element);
      announce(`${visible(token.name)} ${describe(token)}`);
    }
  }

  #show(index: number, element: HTMLElement): void {
    this.element.querySelector(".current")?.classList.remove("current");
    element.classList.add("current");
    this.#current = index;
    this.events.onLook(this, index, element);
  }
}

/** What a click on an alternative does. */
export interface Choosing {
  isPossible(alternative: Alternative): boolean;
  choose(alternative: Alternative): void;
}

/** The card beside a token: its probability, and its alternatives as buttons with bars. */
export class Inspector {
  readonly #card: HTMLElement;
  /** The token that the card is about. */
  #at: HTMLElement | null = null;
  #leaving = 0;

  constructor(card: HTMLElement) {
    this.#card = card;
    card.addEventListener("pointerenter", () => clearTimeout(this.#leaving));
    card.addEventListener("pointerleave", () => this.hideSoon());
    card.addEventListener("keydown", (event) => {
      const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
      if (!step) return;
      event.preventDefault();
      this.#step(step);
    });
  }

  /** Show a token's card below it.
   *
   * @param choice Which alternatives can be clicked, and what is then done; undefined where a text cannot be continued.
   */
  show(token: Token, at: HTMLElement, choice?: Choosing): void {
    clearTimeout(this.#leaving);
    if (this.#at !== at) this.#at?.classList.remove("current");
    this.#at = at;
    const head = make("p", { class: "head" }, make("code", {}, visible(token.name)), ` ${describe(token)}`);
    const canBeChosen = token.top.map((each) => choice?.isPossible(each) ?? false);
    const rows = token.top.map((each, i) => {
      const bar = make("span", { class: "bar", "aria-hidden": "true" });
      bar.style.inlineSize = `${100 * Math.exp(each.logprob)}%`;
      const label = make(
        "span",
        { class: "label" },
        make("code", {}, visible(each.text)),
        percent(each.logprob),
      );
      const button = make(
        "button",
        { type: "button", disabled: !canBeChosen[i], click: () => choice?.choose(each) },
        bar,
        label,
      );
      if (each.text === token.name) button.setAttribute("aria-current", "true");
      return make("li", {}, button);
    });
    this.#card.replaceChildren(head, make("ol", {}, ...rows));
    const help = token.isForced
      ? "The form allows only this text here."
      : canBeChosen.includes(true)
        ? "Click one to continue from there."
        : "";
    if (help) this.#card.append(make("p", { class: "help" }, help));
    this.#card.hidden = false;
    this.#place(at);
  }

  focus(): void {
    this.#buttons[0]?.focus();
  }

  get #buttons(): HTMLElement[] {
    return [...this.#card.querySelectorAll<HTMLElement>("button:enabled")];
  }

  /** Move the focus to the alternative above or below. */
  #step(step: number): void {
    const buttons = this.#buttons;
    const focused = buttons.indexOf(document.activeElement as HTMLElement);
    buttons.at((focused + step) % buttons.length)?.focus();
  }

  hideSoon(): void {
    clearTimeout(this.#leaving);
    this.#leaving = window.setTimeout(() => this.hide(), 250);
  }

  hide(): void {
    if (!this.#card.contains(document.activeElement)) this.close();
  }

  /** Hide the card; the focus goes back to the text that it was opened from. */
  close(): void {
    const text = this.#card.contains(document.activeElement) ? this.#at?.closest<HTMLElement>(".text") : null;
    this.#card.hidden = true;
    this.#at?.classList.remove("current");
    this.#at = null;
    text?.focus({ preventScroll: true });
  }

  #place(at: HTMLElement): void {
    const box = at.getClientRects()[0] ?? at.getBoundingClientRect();
    const { offsetWidth: width, offsetHeight: height } = this.#card;
    const room = document.documentElement.clientWidth; // without a scrollbar
    const isBelow = box.bottom + height < innerHeight || box.top < height;
    this.#card.style.left = `${Math.max(4, Math.min(box.left, room - width - 4)) + scrollX}px`;
    this.#card.style.top = `${(isBelow ? box.bottom + 2 : box.top - height - 2) + scrollY}px`;
  }
}
