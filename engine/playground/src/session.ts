/** What all tabs share: the server, its model, the fields, and how a request runs and fails. */

import { type Api, ApiError, type Fields, type Model } from "./api";
import { find, make, notify } from "./dom";
import type { FieldForm } from "./form";
import { StructureForm } from "./structure";
import type { Inspector } from "./text";

export class Session {
  fields: FieldForm | null = null;
  readonly structure = new StructureForm();
  model: Model = { id: "", max_model_len: 0, n_vocab: 0 };
  /** Alternatives of each token that are asked for. */
  logprobs = 0;
  readonly #alert = find("#alert", HTMLElement);
  readonly #locked = find("#locked", HTMLElement);
  #running: AbortController | null = null;

  constructor(
    readonly api: Api,
    readonly inspector: Inspector,
    readonly askForKey: () => Promise<boolean>,
    /** Read what the server allows, and make the fields of it. */
    readonly load: () => Promise<void>,
  ) {}

  get isRunning(): boolean {
    return this.#running !== null;
  }

  /** Load the page if the server did not let it before, as without a key; return false if it still does not. */
  async ready(): Promise<boolean> {
    return this.fields !== null || (await this.run(this.load));
  }

  /** Return what every request has; undefined if something that was typed is wrong.
   *
   * @param isQuiet Whether the keyboard's focus stays where it is, also if something is wrong.
   */
  request(isQuiet = false): Fields | undefined {
    const fields = this.fields?.values(isQuiet);
    const form = this.structure.values(isQuiet);
    return fields && form && { model: this.model.id, ...fields, ...form };
  }

  /** Run a request that can be stopped; show what goes wrong, and ask for a key where one is needed.
   *
   * @returns true if it ran to its end.
   */
  async run(work: (signal: AbortSignal) => Promise<void>): Promise<boolean> {
    this.stop();
    const running = new AbortController();
    this.#running = running;
    this.#show(true);
    this.tell("");
    try {
      await this.#withKey(() => work(running.signal));
      return true;
    } catch (error) {
      if (running.signal.aborted) notify("Stopped.");
      else this.complain(error);
      return false;
    } finally {
      if (this.#running === running) {
        this.#running = null;
        this.#show(false);
      }
    }
  }

  stop(): void {
    this.#running?.abort();
    this.#running = null;
    this.#show(false);
  }

  /** Do something, and once more with a key if the server asks for one. */
  async #withKey(work: () => Promise<void>): Promise<void> {
    for (;;) {
      try {
        await work();
        this.#locked.hidden = true;
        return;
      } catch (error) {
        if (!(error instanceof ApiError && error.needsKey && (await this.askForKey()))) throw error;
      }
    }
  }

  /** Say what went wrong: beside the field that is at fault, or above the text. */
  complain(error: unknown): void {
    if (error instanceof ApiError && error.needsKey) {
      this.#locked.hidden = false;
    } else if (error instanceof ApiError) {
      const field = error.param?.split(/[.[]/)[0] ?? "";
      if (field === "structured_outputs") this.structure.complain(error.message);
      else this.fields?.complain(field, error.message);
      this.tell(error.message, error.code);
    } else {
      this.tell(error instanceof Error ? error.message : String(error), "page");
      console.error(error);
    }
  }

  tell(message: string, code = ""): void {
    this.#alert.hidden = !message;
    this.#alert.replaceChildren(message, code ? make("code", {}, code) : "");
  }

  #show(isRunning: boolean): void {
    document.body.classList.toggle("running", isRunning);
    for (const button of document.querySelectorAll<HTMLButtonElement>(".stop")) button.disabled = !isRunning;
  }
}
