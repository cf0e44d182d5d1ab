/** The tab for a conversation, of which the model's own template makes the prompt. */

import type { ChatChunk, Fields } from "./api";
import { announce, find, make } from "./dom";
import type { Session } from "./session";

const PATH = "/v1/chat/completions";

interface Message {
  role: "system" | "user" | "assistant";
  content: string;
}

export class ChatTab {
  readonly #log = find("#messages", HTMLElement);
  readonly #system = find("#system", HTMLTextAreaElement);
  readonly #say = find("#say", HTMLTextAreaElement);
  #messages: Message[] = [];

  constructor(readonly session: Session) {
    find("#send", HTMLButtonElement).addEventListener("click", () => this.send());
    find("#retry", HTMLButtonElement).addEventListener("click", () => this.retry());
    find("#clear", HTMLButtonElement).addEventListener("click", () => this.clear());
  }

  async send(): Promise<void> {
    if (!(await this.session.ready())) return;
    const content = this.#say.value.trim();
    if (!content || this.session.isRunning) return;
    this.#messages.push({ role: "user", content });
    this.#say.value = "";
    this.#answer();
  }

  retry(): void {
    while (this.#messages.at(-1)?.role === "assistant") this.#messages.pop();
    if (this.#messages.length) this.#answer();
  }

  clear(): void {
    this.session.stop();
    this.#messages = [];
    this.#draw();
    this.#say.focus();
  }

  async #answer(): Promise<void> {
    this.#draw();
    const given = this.session.request();
    if (!given) return;
    const system = this.#system.value.trim();
    const { max_tokens, ...others } = given;
    const fields: Fields = {
      ...others,
      ...(max_tokens !== undefined && { max_completion_tokens: max_tokens }),
      messages: [...(system ? [{ role: "system", content: system }] : []), ...this.#messages],
    };
    this.session.sent = { path: PATH, fields: { ...fields, stream: true } };
    const answer: Message = { role: "assistant", content: "" };
    await this.session.run(async (signal) => {
      let place: HTMLElement | undefined;
      for await (const chunk of this.session.api.stream<ChatChunk>(PATH, fields, signal)) {
        if (!place) {
          this.#messages.push(answer); // what is refused leaves nothing behind
          place = this.#add(answer);
        }
        for (const choice of chunk.choices) {
          if (choice.index !== 0) continue;
          answer.content += choice.delta.content ?? "";
          place.textContent = answer.content;
          if (choice.finish_reason === "length")
            place.append(make("span", { class: "help" }, " … cut at max_tokens"));
        }
        place.scrollIntoView({ block: "nearest" });
      }
      announce("The answer is complete.");
    });
  }

  #draw(): void {
    this.#log.replaceChildren();
    for (const message of this.#messages) this.#add(message);
  }

  #add(message: Message): HTMLElement {
    const text = make("div", { class: "said" }, message.content);
    this.#log.append(make("li", { class: message.role }, make("h2", {}, message.role), text));
    return text;
  }
}
