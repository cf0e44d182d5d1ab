/** "Copy as": the request that the page would send now, in the words of other programs. */

import type { Asked, GrpcAddress } from "./api";
import { copyText, find, make, notify } from "./dom";
import type { Session } from "./session";
import { LANGUAGES, type Language, snippet } from "./snippets";

export class CopyBox {
  readonly #box = find("#snippet", HTMLTextAreaElement);
  #language: Language | null = null;
  #grpc: GrpcAddress | null = null;

  /**
   * @param asked Returns the request; undefined if something is wrong or missing, which it says unless it is quiet.
   */
  constructor(
    readonly session: Session,
    readonly asked: (isQuiet: boolean) => Asked | undefined,
  ) {
    const buttons = LANGUAGES.map((language) =>
      make("button", { type: "button", click: () => this.copy(language) }, language),
    );
    find("#copy", HTMLElement).append(...buttons);
    for (const event of ["input", "change", "click"]) document.addEventListener(event, () => this.follow());
  }

  async copy(language: Language): Promise<void> {
    if (!(await this.session.ready())) return;
    const asked = this.asked(false);
    if (!asked) return;
    try {
      if (language === "gRPC") this.#grpc = await this.#address();
    } catch (error) {
      this.session.complain(error);
      return;
    }
    this.#language = language;
    this.#box.value = this.#written(language, asked);
    this.#box.hidden = false;
    const isCopied = await copyText(this.#box.value);
    notify(isCopied ? `Copied as ${language}.` : "The browser does not let the page copy: do it by hand.");
  }

  /** Write the box anew, if it is open, as what was typed has changed. */
  follow(): void {
    if (!this.#language) return;
    const asked = this.session.fields ? this.asked(true) : undefined;
    this.#box.value = asked ? this.#written(this.#language, asked) : "Something is wrong or missing.";
  }

  #written(language: Language, { path, fields }: Asked): string {
    const place = { origin: location.origin, hasKey: this.session.api.key !== "", grpc: this.#grpc };
    return snippet(language, path, fields, place);
  }

  async #address(): Promise<GrpcAddress | null> {
    return (await this.session.api.get<{ grpc: GrpcAddress | null }>("/version")).grpc;
  }
}
