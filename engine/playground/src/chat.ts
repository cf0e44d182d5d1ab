/** The tab for a conversation, of which the model's own template makes the prompt. */

import type { Asked, ChatChunk } from "./api";
import { announce, find, make } from "./dom";
import { isEndInView, showEnd } from "./follow";
import type { Session } from "./session";
import type { Conversation, Message } from "./share";

const PATH = "/v1/chat/completions";

/** What was said, and of an answer how it ended, if it did not end by itself. */
interface Said extends Message {
  ending?: string;
}

export class ChatTab {
  readonly #log = find("#messages", HTMLElement);
  readonly #composer = find("#composer", HTMLElement);
  readonly #system = find("#system", HTMLTextAreaElement);
  readonly #say = find("#say", HTMLTextAreaElement);
  readonly #undo = find("#undo", HTMLButtonElement);
  #messages: Said[] = [];
  /** What the conversation was before each "Clear" or "Answer again" since something was said. */
  #earlier: Said[][] = [];

  constructor(readonly session: Session) {
    find("#send", HTMLButtonElement).addEventListener("click", () => this.send());
    find("#retry", HTMLButtonElement).addEventListener("click", () => this.retry());
    find("#clear", HTMLButtonElement).addEventListener("click", () => this.clear());
    this.#undo.addEventListener("click", () => this.undo());
  }

  /** What was said and typed; undefined if nothing was. */
  get conversation(): Conversation | undefined {
    const [system, draft] = [this.#system.value, this.#say.value];
    const messages = this.#messages.map(plain);
    return system || draft || messages.length ? { system, draft, messages } : undefined;
  }

  set conversation({ system, draft, messages }: Conversation) {
    this.#system.value = system;
    if (system) this.#system.closest("details")?.toggleAttribute("open", true);
    this.#say.value = draft;
    this.#messages = messages;
    this.#draw();
  }

  async send(): Promise<void> {
    if (!(await this.session.ready()) || this.session.isRunning) return;
    const content = this.#say.value.trim();
    if (!content) {
      this.#say.focus();
      return;
    }
    this.#answer([...this.#messages, { role: "user", content }]);
  }

  async retry(): Promise<void> {
    if (!(await this.session.ready())) return;
    const messages = this.#unanswered();
    if (messages.length) this.#answer(messages);
  }

  /** Return the request that "Send" would send, or "Answer again" if nothing is typed; undefined if there is none. */
  asked(isQuiet = false): Asked | undefined {
    const content = this.#say.value.trim();
    const messages = content ? [...this.#messages, { role: "user" as const, content }] : this.#unanswered();
    if (messages.length) return this.#asked(messages, isQuiet);
    if (!isQuiet) this.#say.focus();
    return undefined;
  }

  clear(): void {
    this.session.stop();
    if (this.#messages.length) this.#remember([...this.#earlier, this.#messages]);
    this.#messages = [];
    this.#draw();
    this.#tellChange();
    this.#say.focus();
  }

  /** Bring back what the last "Clear" or "Answer again" took away. */
  undo(): void {
    this.session.stop();
    this.#messages = this.#earlier.at(-1) ?? this.#messages;
    this.#remember(this.#earlier.slice(0, -1));
    this.#draw();
    this.#tellChange();
    this.#say.focus();
  }

  #remember(earlier: Said[][]): void {
    this.#earlier = earlier;
    this.#undo.disabled = earlier.length === 0;
  }

  /** Return the conversation without its last answer. */
  #unanswered(): Said[] {
    const last = this.#messages.map(({ role }) => role).lastIndexOf("user");
    return this.#messages.slice(0, last + 1);
  }

  #asked(messages: Said[], isQuiet: boolean): Asked | undefined {
    const given = this.session.request(isQuiet);
    if (!given) return undefined;
    const system = this.#system.value.trim();
    const { max_tokens, ...others } = given;
    const fields = {
      ...others,
      ...(max_tokens !== undefined && { max_completion_tokens: max_tokens }),
      messages: [...(system ? [{ role: "system", content: system }] : []), ...messages.map(plain)],
      stream: true,
    };
    return { path: PATH, fields };
  }

  /** Ask for an answer to messages, which become the conversation. */
  async #answer(messages: Said[]): Promise<void> {
    const asked = this.#asked(messages, false);
    if (!asked) return;
    const isAgain = messages.length <= this.#messages.length;
    if (!isAgain) this.#say.value = "";
    if (messages.length < this.#messages.length) this.#remember([...this.#earlier, this.#messages]);
    else if (!isAgain) this.#remember([]);
    this.#messages = messages;
    this.#draw();
    showEnd(this.#log, this.#floor);
    const answer: Said = { role: "assistant", content: "" };
    const isWhole = await this.session.run(async (signal) => {
      let place: HTMLElement | undefined;
      const grow = (choices: ChatChunk["choices"]) => {
        const isAtEnd = isEndInView(this.#log, this.#floor);
        if (!place) messages.push(answer); // what is refused leaves nothing behind
        place ??= this.#add(answer);
        for (const choice of choices) {
          if (choice.index !== 0) continue;
          answer.content += choice.delta.content ?? "";
          if (choice.finish_reason === "length") answer.ending = "cut at max_tokens";
        }
        write(answer, place);
        if (isAtEnd) showEnd(this.#log, this.#floor);
      };
      const chunks = this.session.api.stream<ChatChunk>(PATH, asked.fields, signal);
      try {
        for await (const { choices } of chunks) grow(choices);
      } catch (error) {
        answer.ending = signal.aborted ? "stopped by you" : "broken off";
        if (place) write(answer, place);
        throw error;
      }
      announce("The answer is complete.");
    });
    const isWanted = !isWhole && !(answer.content && answer.ending === "stopped by you");
    if (isWanted && this.#messages === messages && !this.session.isRunning) this.#offer(answer);
    this.#tellChange();
  }

  /** Tell those who follow what would be sent, as "Copy as". */
  #tellChange(): void {
    this.#log.dispatchEvent(new Event("change", { bubbles: true }));
  }

  /** Offer another try, where the eyes are. */
  #offer({ content }: Message): void {
    const told = content ? "" : "No answer came.";
    const again = make("button", { type: "button", click: () => this.retry() }, "Try again");
    this.#log.append(make("li", { class: "failed" }, told, again));
    showEnd(this.#log, this.#floor);
  }

  /** Where the view of the conversation ends. */
  get #floor(): number {
    return this.#composer.getBoundingClientRect().top;
  }

  #draw(): void {
    this.#log.replaceChildren();
    for (const message of this.#messages) this.#add(message);
  }

  #add(message: Said): HTMLElement {
    const text = make("div", { class: "said" });
    write(message, text);
    this.#log.append(make("li", { class: message.role }, make("h2", {}, message.role), text));
    return text;
  }
}

function write({ content, ending }: Said, place: HTMLElement): void {
  place.replaceChildren(content, ending ? make("span", { class: "help" }, ` … ${ending}`) : "");
}

function plain({ role, content }: Said): Message {
  return { role, content };
}
