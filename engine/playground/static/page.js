// src/api.ts
var ApiError = class extends Error {
  constructor(message, code, param = null, status = 0) {
    super(message);
    this.code = code;
    this.param = param;
    this.status = status;
    this.name = "ApiError";
  }
  code;
  param;
  status;
  get needsKey() {
    return this.status === 401;
  }
};
var Api = class {
  key = "";
  async get(path, signal) {
    return (await this.#send(path, signal ? { signal } : {})).json();
  }
  async post(path, fields, signal) {
    return (await this.#post(path, fields, signal)).json();
  }
  /** Yield the chunks of a streamed answer; an error that ends the stream is thrown. */
  async *stream(path, fields, signal) {
    const response = await this.#post(path, { ...fields, stream: true }, signal);
    for await (const data of events(response)) {
      if (data === "[DONE]") return;
      const chunk = JSON.parse(data);
      if (chunk.error) throw failure(chunk.error, 0);
      yield chunk;
    }
    throw new ApiError("The connection ended before the answer did.", "disconnected");
  }
  #post(path, fields, signal) {
    return this.#send(path, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(fields),
      ...signal && { signal }
    });
  }
  async #send(path, init) {
    const headers = new Headers(init.headers);
    if (this.key) headers.set("Authorization", `Bearer ${this.key}`);
    let response;
    try {
      response = await fetch(path, { ...init, headers });
    } catch (error) {
      if (init.signal?.aborted) throw error;
      throw new ApiError("The server cannot be reached.", "unreachable");
    }
    if (!response.ok) throw await refusal(response);
    return response;
  }
};
async function refusal(response) {
  try {
    return failure((await response.json()).error, response.status);
  } catch {
    return new ApiError(`The server answered ${response.status}.`, "unknown", null, response.status);
  }
}
function failure(detail, status) {
  return new ApiError(detail.message, detail.code, detail.param, status);
}
async function* events(response) {
  if (!response.body) return;
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (; ; ) {
      const { done, value } = await reader.read();
      if (done) return;
      const blocks = (rest + value).split("\n\n");
      rest = blocks.pop() ?? "";
      for (const block of blocks) {
        if (block.startsWith("data: ")) yield block.slice("data: ".length);
      }
    }
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new ApiError("The connection was lost before the answer was whole.", "disconnected");
  } finally {
    reader.cancel().catch(() => {
    });
  }
}

// src/dom.ts
function make(name, attributes = {}, ...content) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(key, value);
    else if (typeof value === "boolean") element.toggleAttribute(key, value);
    else element.setAttribute(key, value);
  }
  element.append(...content);
  return element;
}
function withCode(text) {
  return text.split("`").map((part, i) => i % 2 ? make("code", {}, part) : part);
}
function find(selector, kind) {
  const element = document.querySelector(selector);
  if (!(element instanceof kind)) throw new Error(`the page has no ${selector}`);
  return element;
}
function announce(text) {
  const place = find("#announcements", HTMLElement);
  place.textContent = text;
  place.classList.add("unseen");
}
var SHOWN_MS = 6e3;
var hiding = 0;
function notify(text) {
  announce(text);
  const { classList } = find("#announcements", HTMLElement);
  classList.remove("unseen");
  clearTimeout(hiding);
  hiding = window.setTimeout(() => classList.add("unseen"), SHOWN_MS);
}
async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false;
  }
}
function download(name, type, text) {
  const address = URL.createObjectURL(new Blob([text], { type }));
  make("a", { href: address, download: name }).click();
  URL.revokeObjectURL(address);
}

// src/follow.ts
var MARGIN = 16;
var SLACK = 8;
function isEndInView(element, floor = bottom()) {
  const { scrollTop, clientHeight, scrollHeight } = element;
  if (scrollTop + clientHeight < scrollHeight - SLACK) return false;
  return element.getBoundingClientRect().bottom + MARGIN <= floor + SLACK;
}
function showEnd(element, floor = bottom()) {
  element.scrollTop = element.scrollHeight;
  const below = element.getBoundingClientRect().bottom + MARGIN - floor;
  if (below > 0) scrollBy(0, below);
}
function bottom() {
  return document.documentElement.clientHeight;
}

// src/chat.ts
var PATH = "/v1/chat/completions";
var ChatTab = class {
  constructor(session2) {
    this.session = session2;
    find("#send", HTMLButtonElement).addEventListener("click", () => this.send());
    find("#retry", HTMLButtonElement).addEventListener("click", () => this.retry());
    find("#clear", HTMLButtonElement).addEventListener("click", () => this.clear());
    this.#undo.addEventListener("click", () => this.undo());
  }
  session;
  #log = find("#messages", HTMLElement);
  #composer = find("#composer", HTMLElement);
  #system = find("#system", HTMLTextAreaElement);
  #say = find("#say", HTMLTextAreaElement);
  #undo = find("#undo", HTMLButtonElement);
  #messages = [];
  /** What the conversation was before each "Clear" or "Answer again" since something was said. */
  #earlier = [];
  /** What was said and typed; undefined if nothing was. */
  get conversation() {
    const [system, draft] = [this.#system.value, this.#say.value];
    const messages = this.#messages.map(plain);
    return system || draft || messages.length ? { system, draft, messages } : void 0;
  }
  set conversation({ system, draft, messages }) {
    this.#system.value = system;
    if (system) this.#system.closest("details")?.toggleAttribute("open", true);
    this.#say.value = draft;
    this.#messages = messages;
    this.#draw();
  }
  async send() {
    if (!await this.session.ready() || this.session.isRunning) return;
    const content = this.#say.value.trim();
    if (!content) {
      this.#say.focus();
      return;
    }
    this.#answer([...this.#messages, { role: "user", content }]);
  }
  async retry() {
    if (!await this.session.ready()) return;
    const messages = this.#unanswered();
    if (messages.length) this.#answer(messages);
  }
  /** Return the request that "Send" would send, or "Answer again" if nothing is typed; undefined if there is none. */
  asked(isQuiet = false) {
    const content = this.#say.value.trim();
    const messages = content ? [...this.#messages, { role: "user", content }] : this.#unanswered();
    if (messages.length) return this.#asked(messages, isQuiet);
    if (!isQuiet) this.#say.focus();
    return void 0;
  }
  clear() {
    this.session.stop();
    if (this.#messages.length) this.#remember([...this.#earlier, this.#messages]);
    this.#messages = [];
    this.#draw();
    this.#tellChange();
    this.#say.focus();
  }
  /** Bring back what the last "Clear" or "Answer again" took away. */
  undo() {
    this.session.stop();
    this.#messages = this.#earlier.at(-1) ?? this.#messages;
    this.#remember(this.#earlier.slice(0, -1));
    this.#draw();
    this.#tellChange();
    this.#say.focus();
  }
  #remember(earlier) {
    this.#earlier = earlier;
    this.#undo.disabled = earlier.length === 0;
  }
  /** Return the conversation without its last answer. */
  #unanswered() {
    const last = this.#messages.map(({ role }) => role).lastIndexOf("user");
    return this.#messages.slice(0, last + 1);
  }
  #asked(messages, isQuiet) {
    const given2 = this.session.request(isQuiet);
    if (!given2) return void 0;
    const system = this.#system.value.trim();
    const { max_tokens, ...others } = given2;
    const fields = {
      ...others,
      ...max_tokens !== void 0 && { max_completion_tokens: max_tokens },
      messages: [...system ? [{ role: "system", content: system }] : [], ...messages.map(plain)],
      stream: true
    };
    return { path: PATH, fields };
  }
  /** Ask for an answer to messages, which become the conversation. */
  async #answer(messages) {
    const asked = this.#asked(messages, false);
    if (!asked) return;
    const isAgain = messages.length <= this.#messages.length;
    if (!isAgain) this.#say.value = "";
    if (messages.length < this.#messages.length) this.#remember([...this.#earlier, this.#messages]);
    else if (!isAgain) this.#remember([]);
    this.#messages = messages;
    this.#draw();
    showEnd(this.#log, this.#floor);
    const answer = { role: "assistant", content: "" };
    const isWhole = await this.session.run(async (signal) => {
      let place;
      const grow = (choices) => {
        const isAtEnd = isEndInView(this.#log, this.#floor);
        if (!place) messages.push(answer);
        place ??= this.#add(answer);
        for (const choice of choices) {
          if (choice.index !== 0) continue;
          answer.content += choice.delta.content ?? "";
          if (choice.finish_reason === "length") answer.ending = "cut at max_tokens";
        }
        write(answer, place);
        if (isAtEnd) showEnd(this.#log, this.#floor);
      };
      const chunks = this.session.api.stream(PATH, asked.fields, signal);
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
  #tellChange() {
    this.#log.dispatchEvent(new Event("change", { bubbles: true }));
  }
  /** Offer another try, where the eyes are. */
  #offer({ content }) {
    const told = content ? "" : "No answer came.";
    const again = make("button", { type: "button", click: () => this.retry() }, "Try again");
    this.#log.append(make("li", { class: "failed" }, told, again));
    showEnd(this.#log, this.#floor);
  }
  /** Where the view of the conversation ends. */
  get #floor() {
    return this.#composer.getBoundingClientRect().top;
  }
  #draw() {
    this.#log.replaceChildren();
    for (const message of this.#messages) this.#add(message);
  }
  #add(message) {
    const text = make("div", { class: "said" });
    write(message, text);
    this.#log.append(make("li", { class: message.role }, make("h2", {}, message.role), text));
    return text;
  }
};
function write({ content, ending }, place) {
  place.replaceChildren(content, ending ? make("span", { class: "help" }, ` \u2026 ${ending}`) : "");
}
function plain({ role, content }) {
  return { role, content };
}

// src/token.ts
var TokenReader = class {
  /** Characters (code points) from the start of the prompt; null before the first piece. */
  #end = null;
  read(choice) {
    const { logprobs, text } = choice;
    if (!logprobs || logprobs.text_offset.length === 0) {
      return text ? [{ text, name: text, logprob: null, id: null, isForced: false, top: [] }] : [];
    }
    const letters = [...text];
    const begin = this.#end ?? logprobs.text_offset[0] ?? 0;
    this.#end = begin + letters.length;
    const borders = [...logprobs.text_offset.slice(1), this.#end];
    let done = 0;
    return borders.map((border, i) => {
      const end = Math.min(Math.max(border - begin, done), letters.length);
      const piece = letters.slice(done, end).join("");
      done = end;
      return {
        text: piece,
        name: logprobs.tokens[i] ?? piece,
        logprob: logprobs.token_logprobs[i] ?? null,
        id: choice.token_ids?.[i] ?? null,
        isForced: logprobs.forced?.[i] ?? false,
        top: ranked(logprobs.top_logprobs?.[i] ?? {}, logprobs.top_token_ids?.[i] ?? {})
      };
    });
  }
};
function ranked(top, ids) {
  return Object.entries(top).map(([text, logprob]) => ({ text, logprob, id: ids[text] ?? null })).sort((a, b) => b.logprob - a.logprob);
}
function canBeChosen({ id, text }, tokens) {
  const free = tokens.findIndex((token) => !token.isForced);
  const forced = textOf(free < 0 ? tokens : tokens.slice(0, free));
  return id !== null && !text.startsWith("bytes:") && (forced.startsWith(text) || text.startsWith(forced));
}
function chosenFor(token, { text, logprob, id }) {
  return { text, name: text, logprob, id, isForced: false, top: token.top };
}
function idsOf(tokens) {
  const ids = tokens.flatMap(({ id }) => id === null ? [] : [id]);
  return ids.length === tokens.length ? ids : void 0;
}
function describe(token) {
  const probability = token.logprob === null ? "no score: nothing is before it" : percent(token.logprob);
  return token.isForced ? `${probability}, forced by the form` : probability;
}
function textOf(tokens) {
  return tokens.map((token) => token.text).join("");
}
function perplexity(tokens) {
  const known = tokens.flatMap(({ logprob, isForced }) => logprob === null || isForced ? [] : [logprob]);
  const mean = known.reduce((sum, logprob) => sum + logprob, 0) / Math.max(known.length, 1);
  return { value: Math.exp(-mean), count: known.length, mean };
}
var LEAST = [0.9, 0.5, 0.2, 0.05, 0];
function shade({ logprob, isForced }) {
  if (isForced) return "forced";
  if (logprob === null) return "unscored";
  const probability = Math.exp(logprob);
  return `shade${LEAST.findIndex((least) => probability >= least)}`;
}
function figure(value, digits) {
  if (value > 1e9) return "over 1,000,000,000";
  return value >= 10 ** digits ? value.toFixed(0) : value.toPrecision(digits);
}
function percent(logprob) {
  const probability = 100 * Math.exp(logprob);
  if (probability < 1e-3) return "< 0.001 %";
  return `${probability >= 9.95 ? probability.toFixed(0) : probability.toPrecision(2)} %`;
}
function visible(text) {
  return text.replaceAll("\n", "\u21B5").replaceAll("	", "\u21E5").replaceAll(" ", "\xB7") || "\u2205";
}
function counted({ length }) {
  return `${length} ${length === 1 ? "token" : "tokens"}`;
}
function speed(generated, seconds) {
  return `${generated} generated in ${seconds.toFixed(1)} s, ${(generated / seconds).toFixed(1)} tokens/s`;
}
function measured(tokens) {
  const { value, count } = perplexity(tokens);
  const forced = tokens.filter((token) => token.isForced).length;
  const total = counted(tokens);
  if (!count) return forced ? `${total}, all forced by the form` : total;
  const over = forced ? ` over the ${count} that were free` : "";
  return `${total}, perplexity ${figure(value, 3)}${over}`;
}

// src/branches.ts
var Branch = class {
  constructor(id, prompt, parent, at, fields) {
    this.id = id;
    this.prompt = prompt;
    this.parent = parent;
    this.at = at;
    this.fields = fields;
  }
  id;
  prompt;
  parent;
  at;
  fields;
  tokens = [];
  finishReason = null;
  /** What ended it before the server did. */
  interruption = null;
  /** All tokens from the prompt on. */
  get path() {
    return [...this.parent?.path.slice(0, this.at) ?? [], ...this.tokens];
  }
  get hasForm() {
    return this.fields.structured_outputs !== void 0;
  }
  /** How it ended, in words; empty while it grows. */
  get ending() {
    if (this.interruption) return this.interruption;
    if (this.finishReason === "length") return "cut at max_tokens";
    return this.finishReason === "stop" ? "stopped at an end" : this.finishReason ?? "";
  }
  /** How many tokens it can be continued behind: all but an end token, and what a stop string cut off. */
  get kept() {
    const last = this.path.at(-1);
    return this.path.length - Number(this.finishReason === "stop" && last?.text !== last?.name);
  }
  /** Whether anything can follow; a form that is complete ends the answer. */
  get canGoOn() {
    return !(this.hasForm && this.finishReason === "stop") && idsOf(this.path) !== void 0;
  }
};
var Forest = class {
  branches = [];
  grow(prompt, parent, at, fields) {
    const branch = new Branch(this.branches.length, prompt, parent, at, fields);
    this.branches.push(branch);
    return branch;
  }
  get prompts() {
    return [...new Set(this.branches.map(({ prompt }) => prompt))];
  }
  rootsOf(prompt) {
    return this.of(prompt).filter((branch) => branch.parent === null);
  }
  childrenOf(parent) {
    return this.branches.filter((branch) => branch.parent === parent);
  }
  of(prompt) {
    return this.branches.filter((branch) => branch.prompt === prompt);
  }
  export() {
    return {
      branches: this.branches.map((branch) => ({
        id: branch.id,
        prompt: branch.prompt,
        parent: branch.parent?.id ?? null,
        at: branch.at,
        finish_reason: branch.finishReason,
        text: branch.prompt + textOf(branch.path),
        fields: branch.fields,
        tokens: branch.tokens
      }))
    };
  }
};

// src/outline.ts
var Outline = class {
  constructor(forest, onChoose) {
    this.forest = forest;
    this.onChoose = onChoose;
  }
  forest;
  onChoose;
  #section = find("#tree", HTMLElement);
  #list = find("#branches", HTMLElement);
  #open = /* @__PURE__ */ new Set();
  /** @param prompt The one whose branches come first, and are not folded away. */
  draw(prompt) {
    const earlier = this.forest.prompts.filter((each) => each !== prompt).reverse();
    this.#section.hidden = this.forest.branches.length === 0;
    this.#list.replaceChildren(
      ...this.#items(this.forest.rootsOf(prompt)),
      ...earlier.map((each) => this.#folded(each))
    );
  }
  /** Mark the branches that are shown. */
  mark(shown2) {
    const ids = shown2.map(({ id }) => String(id));
    for (const button of this.#list.querySelectorAll("button"))
      button.setAttribute("aria-current", String(ids.includes(button.dataset.branch ?? "")));
  }
  #folded(prompt) {
    const count = this.forest.of(prompt).length;
    const told = ` ${count} ${count === 1 ? "branch" : "branches"} of an earlier prompt`;
    const folded = make(
      "details",
      { class: "earlier", open: this.#open.has(prompt) },
      make("summary", {}, beginning(prompt), make("span", { class: "help" }, told)),
      make("ol", {}, ...this.#items(this.forest.rootsOf(prompt)))
    );
    folded.addEventListener("toggle", () => {
      if (folded.open) this.#open.add(prompt);
      else this.#open.delete(prompt);
    });
    return make("li", {}, folded);
  }
  #items(branches) {
    return branches.map((branch) => {
      const place = branch.parent ? `from token ${branch.at + 1}` : "from the prompt";
      const button = make(
        "button",
        { type: "button", "data-branch": String(branch.id), click: () => this.onChoose(branch) },
        make("b", {}, String(branch.id + 1)),
        ` ${beginning(textOf(branch.tokens))} `,
        make("span", { class: "help" }, place)
      );
      const children = this.#items(this.forest.childrenOf(branch));
      return make("li", {}, button, ...children.length ? [make("ol", {}, ...children)] : []);
    });
  }
};
function beginning(text) {
  return text.trim().slice(0, 60) || "\u2026";
}

// src/text.ts
var TextView = class {
  constructor(label, events2, begin = -1) {
    this.events = events2;
    this.begin = begin;
    this.#current = Math.max(begin, 0) - 1;
    this.element = make("div", {
      class: "text",
      tabindex: "0",
      role: "group",
      "aria-label": `${label}. Arrow keys walk over its tokens, Enter goes to the alternatives.`
    });
    this.element.addEventListener("pointerover", (event) => this.#look(event));
    this.element.addEventListener("pointerleave", () => events2.onLeave());
    this.element.addEventListener("click", (event) => this.#look(event));
    this.element.addEventListener("keydown", (event) => this.#walk(event));
  }
  events;
  begin;
  element;
  tokens = [];
  #current;
  #waiting = [];
  /** What grows, up to a line break: a browser lays out that alone, and of the others what is in view. */
  #line = null;
  #frame = 0;
  #isFollowed = false;
  /** Add tokens; they are drawn together, once for each frame. */
  append(tokens) {
    for (const token of tokens) {
      this.tokens.push(token);
      this.#waiting.push(token);
    }
    if (this.#waiting.length && !this.#frame) this.#frame = requestAnimationFrame(() => this.#draw());
  }
  /** Show the end, and follow it while tokens are added and the reader stays there. */
  follow() {
    this.#draw();
    showEnd(this.element);
    this.#isFollowed = true;
  }
  #draw() {
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
  #span(token, index) {
    const element = make("span", {
      class: `token ${shade(token)}`,
      "data-index": String(index)
    });
    element.textContent = token.text;
    element.classList.toggle("break", /^\s*\n/.test(token.text));
    element.classList.toggle("nothing", token.text === "");
    element.classList.toggle("begin", index === this.begin);
    return element;
  }
  #look(event) {
    const element = event.target instanceof HTMLElement ? event.target.closest(".token") : null;
    if (element instanceof HTMLElement) this.#show(Number(element.dataset.index), element);
  }
  #walk(event) {
    const steps = {
      ArrowRight: this.#current + 1,
      ArrowLeft: this.#current - 1,
      Home: 0,
      End: this.tokens.length - 1
    };
    const index = steps[event.key];
    if (index === void 0 || index < 0 || index >= this.tokens.length) return;
    event.preventDefault();
    const element = this.element.querySelector(`[data-index="${index}"]`);
    const token = this.tokens[index];
    if (token && element instanceof HTMLElement) {
      element.scrollIntoView({ block: "nearest" });
      this.#show(index, element);
      announce(`${visible(token.name)} ${describe(token)}`);
    }
  }
  #show(index, element) {
    this.element.querySelector(".current")?.classList.remove("current");
    element.classList.add("current");
    this.#current = index;
    this.events.onLook(this, index, element);
  }
};
var Inspector = class {
  #card;
  /** The token that the card is about. */
  #at = null;
  #leaving = 0;
  constructor(card) {
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
  show(token, at, choice) {
    clearTimeout(this.#leaving);
    if (this.#at !== at) this.#at?.classList.remove("current");
    this.#at = at;
    const head = make("p", { class: "head" }, make("code", {}, visible(token.name)), ` ${describe(token)}`);
    const canBeChosen2 = token.top.map((each) => choice?.isPossible(each) ?? false);
    const rows = token.top.map((each, i) => {
      const bar = make("span", { class: "bar", "aria-hidden": "true" });
      bar.style.inlineSize = `${100 * Math.exp(each.logprob)}%`;
      const label = make(
        "span",
        { class: "label" },
        make("code", {}, visible(each.text)),
        percent(each.logprob)
      );
      const button = make(
        "button",
        { type: "button", disabled: !canBeChosen2[i], click: () => choice?.choose(each) },
        bar,
        label
      );
      if (each.text === token.name) button.setAttribute("aria-current", "true");
      return make("li", {}, button);
    });
    this.#card.replaceChildren(head, make("ol", {}, ...rows));
    const help = token.isForced ? "The form allows only this text here." : canBeChosen2.includes(true) ? "Click one to continue from there." : "";
    if (help) this.#card.append(make("p", { class: "help" }, help));
    this.#card.hidden = false;
    this.#place(at);
  }
  focus() {
    this.#buttons[0]?.focus();
  }
  get #buttons() {
    return [...this.#card.querySelectorAll("button:enabled")];
  }
  /** Move the focus to the alternative above or below. */
  #step(step) {
    const buttons = this.#buttons;
    const focused = buttons.indexOf(document.activeElement);
    buttons.at((focused + step) % buttons.length)?.focus();
  }
  hideSoon() {
    clearTimeout(this.#leaving);
    this.#leaving = window.setTimeout(() => this.hide(), 250);
  }
  hide() {
    if (!this.#card.contains(document.activeElement)) this.close();
  }
  /** Hide the card; the focus goes back to the text that it was opened from. */
  close() {
    const text = this.#card.contains(document.activeElement) ? this.#at?.closest(".text") : null;
    this.#card.hidden = true;
    this.#at?.classList.remove("current");
    this.#at = null;
    text?.focus({ preventScroll: true });
  }
  #place(at) {
    const box = at.getClientRects()[0] ?? at.getBoundingClientRect();
    const { offsetWidth: width, offsetHeight: height } = this.#card;
    const room = document.documentElement.clientWidth;
    const isBelow = box.bottom + height < innerHeight || box.top < height;
    this.#card.style.left = `${Math.max(4, Math.min(box.left, room - width - 4)) + scrollX}px`;
    this.#card.style.top = `${(isBelow ? box.bottom + 2 : box.top - height - 2) + scrollY}px`;
  }
};

// src/complete.ts
var PATH2 = "/v1/completions";
var CompleteTab = class {
  constructor(session2) {
    this.session = session2;
    find("#complete", HTMLButtonElement).addEventListener("click", () => this.complete());
    find("#regenerate", HTMLButtonElement).addEventListener("click", () => this.regenerate());
    find("#export", HTMLButtonElement).addEventListener("click", () => this.export());
    this.#prompt.addEventListener("input", () => this.#grow());
  }
  session;
  #prompt = find("#prompt", HTMLTextAreaElement);
  #columns = find("#columns", HTMLElement);
  #usage = find("#usage", HTMLElement);
  #forest = new Forest();
  #outline = new Outline(this.#forest, (branch) => this.#choose(branch));
  #shown = [];
  #pinned = /* @__PURE__ */ new Set();
  #last = null;
  /** What was asked for last. */
  #latest = [];
  get prompt() {
    return this.#prompt.value;
  }
  set prompt(text) {
    this.#prompt.value = text;
    this.#grow();
  }
  /** Continue the prompt. */
  async complete() {
    if (!await this.session.ready()) return;
    this.#ask({ prompt: this.prompt, parent: null, at: 0, first: [] }, this.#shown);
  }
  /** Return the request that "Complete" would send; undefined if something that was typed is wrong. */
  asked(isQuiet = false) {
    const given2 = this.session.request(isQuiet);
    return given2 && { path: PATH2, fields: { ...this.#with(given2, this.prompt), stream: true } };
  }
  /** Ask once more for what was asked last. */
  regenerate() {
    const latest = this.#shown.filter(({ branch }) => this.#latest.includes(branch));
    if (this.#last?.prompt === this.prompt)
      this.#ask({ ...this.#last }, latest.length ? latest : this.#shown);
    else this.complete();
  }
  export() {
    const forest = { model: this.session.model.id, ...this.#forest.export() };
    download("branches.json", "application/json", JSON.stringify(forest, null, 2));
  }
  /** Ask for choices behind a place, and show them instead of what is shown of others. */
  async #ask(place, instead) {
    const given2 = this.session.request();
    if (!given2) return;
    this.#last = place;
    const { prompt, parent, at, first } = place;
    this.#usage.textContent = "";
    const begun = parent && [...parent.path.slice(0, at), ...first];
    const fields = this.#with(begun ? this.#goingOn(given2, parent, begun) : given2, prompt);
    await this.session.run((signal) => this.#stream(fields, place, instead, signal));
    this.#outline.draw(prompt);
    this.#tellShown();
  }
  #with(given2, prompt) {
    const { logprobs } = this.session;
    return { ...given2, prompt, logprobs, return_token_ids: true, stream_options: { include_usage: true } };
  }
  /** Return the fields that let an answer go on behind its first tokens: one choice, of the form that it has.
   *
   * What is typed as `max_tokens` is how many more there may be; a request counts the whole answer.
   */
  #goingOn(given2, branch, tokens) {
    const { n: _, structured_outputs: __, ...others } = given2;
    const form = branch.fields.structured_outputs;
    const more = Number(given2.max_tokens ?? this.session.fields?.fallback("max_tokens"));
    return {
      ...others,
      ...form !== void 0 && { structured_outputs: form },
      max_tokens: tokens.length + more,
      resume_token_ids: idsOf(tokens)
    };
  }
  async #stream(fields, place, instead, signal) {
    const { prompt, parent, at, first } = place;
    const columns = [];
    const readers = /* @__PURE__ */ new Map();
    const began = performance.now();
    const given2 = Array.isArray(fields.resume_token_ids) ? fields.resume_token_ids.length : 0;
    let ended = 0;
    const start2 = () => {
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
      for (const { view } of [...columns].reverse()) view.follow();
    };
    const seconds = () => (performance.now() - began) / 1e3;
    const read = (choice, column) => {
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
      for await (const chunk of this.session.api.stream(PATH2, fields, signal)) {
        if (!columns.length) start2();
        if (chunk.usage) this.#tellUsage(chunk.usage, given2, seconds());
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
  #interrupt(columns, isStopped) {
    for (const column of columns) {
      const { branch } = column;
      if (branch.finishReason === null) branch.interruption = isStopped ? "stopped by you" : "broken off";
      this.#tellStatus(column);
    }
  }
  /** Tell how a branch ended. A token that was chosen and is its end, such as an end token, adds no text. */
  #end(column, first) {
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
  #show(columns, instead) {
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
  #close(column) {
    this.#pinned.delete(column.branch);
    this.#show([], [column]);
    this.#shown[0]?.view.element.focus();
  }
  /** Mark what is shown in the list, and explain what is seen of it. */
  #tellShown() {
    const branches = this.#shown.map(({ branch }) => branch);
    this.#outline.mark(branches);
    const hasOne = this.#forest.prompts.length < 2;
    for (const { prompt } of this.#shown) prompt.hidden = hasOne;
    find("#forced-legend", HTMLElement).hidden = !branches.some((branch) => branch.hasForm);
    find("#begin-legend", HTMLElement).hidden = branches.every((branch) => branch.parent === null);
  }
  #column(branch) {
    const name = `Branch ${branch.id + 1}`;
    const events2 = {
      onLook: (shown2, index, at) => {
        const token = shown2.tokens[index];
        const [before, after] = [branch.path.slice(0, index), branch.path.slice(index)];
        const canBranch = idsOf(before) !== void 0;
        const choice = {
          isPossible: (each) => canBranch && canBeChosen(each, after),
          choose: (each) => this.#branch(branch, index, each)
        };
        if (token) this.session.inspector.show(token, at, choice);
      },
      onLeave: () => this.session.inspector.hideSoon()
    };
    const view = new TextView(name, events2, branch.parent ? branch.at : -1);
    view.append(branch.path);
    const status = make("span", { class: "status" });
    const pin = make(
      "button",
      {
        type: "button",
        "aria-pressed": String(this.#pinned.has(branch)),
        title: "Keeps this branch here while you look at others"
      },
      "Pin"
    );
    pin.addEventListener("click", () => {
      const isPinned = this.#pinned.delete(branch) ? false : !!this.#pinned.add(branch);
      pin.setAttribute("aria-pressed", String(isPinned));
    });
    const more = make("button", { type: "button", click: () => this.#continue(branch) }, "Continue");
    const copy = make("button", { type: "button", click: () => this.#copy(branch) }, "Copy text");
    const close = make("button", { type: "button", class: "close", "aria-label": `Close ${name}` }, "\xD7");
    close.addEventListener("click", () => this.#close(column));
    const buttons = make("div", { class: "actions" }, pin, more, copy);
    const head = make("header", {}, make("h2", {}, name), close, status, buttons);
    const prompt = make("p", { class: "help behind", title: branch.prompt }, `behind \u201C${branch.prompt}\u201D`);
    const element = make(
      "article",
      { class: "column", "data-branch": String(branch.id) },
      head,
      prompt,
      view.element
    );
    const column = { branch, element, prompt, view, status, more };
    this.#tellStatus(column);
    return column;
  }
  #tellStatus({ branch, status, more }) {
    more.disabled = !branch.canGoOn;
    const figures = branch.tokens.length ? measured(branch.tokens) : "";
    status.textContent = [branch.ending, figures].filter(Boolean).join(" \xB7 ");
  }
  #branch(branch, index, alternative) {
    const token = branch.path[index];
    if (!token) return;
    this.session.inspector.close();
    const first = [chosenFor(token, alternative)];
    this.#ask({ prompt: branch.prompt, parent: branch, at: index, first }, this.#columnsOf(branch));
  }
  #continue(branch) {
    const place = { prompt: branch.prompt, parent: branch, at: branch.kept, first: [] };
    this.#ask(place, this.#columnsOf(branch));
  }
  #columnsOf(branch) {
    return this.#shown.filter((column) => column.branch === branch);
  }
  /** Show a branch of the list, and its prompt, unless that would lose one that was typed and not asked yet. */
  #choose(branch) {
    if (this.#forest.prompts.includes(this.prompt)) this.prompt = branch.prompt;
    this.#prompt.dispatchEvent(new Event("change", { bubbles: true }));
    const [shown2] = this.#columnsOf(branch);
    if (shown2) shown2.element.scrollIntoView({ block: "nearest" });
    else this.#show([this.#column(branch)], this.#shown);
  }
  async #copy(branch) {
    const isCopied = await copyText(branch.prompt + textOf(branch.path));
    notify(isCopied ? "Copied." : "The browser does not let the page copy.");
  }
  /** Tell what was computed. Tokens that were given count in the usage, and were not generated now. */
  #tellUsage(usage, given2, seconds) {
    const { prompt_tokens, prompt_tokens_details } = usage;
    const generated = usage.completion_tokens - given2;
    const cached = prompt_tokens_details.cached_tokens;
    this.#usage.textContent = `${prompt_tokens} prompt tokens${cached ? ` (${cached} cached)` : ""}, ${speed(generated, seconds)}`;
  }
  /** Let the text box be as high as its text, within limits that the style has. */
  #grow() {
    this.#prompt.style.height = "auto";
    this.#prompt.style.height = `${this.#prompt.scrollHeight + 2}px`;
  }
};

// src/snippets.ts
var LANGUAGES = ["curl", "Python", "gRPC", "JavaScript"];
function snippet(language, path, fields, place) {
  const { origin, hasKey } = place;
  switch (language) {
    case "curl":
      return curl(path, fields, origin, hasKey);
    case "Python":
      return python(fields, origin, hasKey);
    case "gRPC":
      return place.grpc ? grpc(path, fields, place, place.grpc) : "# gRPC is off on this server.";
    case "JavaScript":
      return javascript(path, fields, origin, hasKey);
  }
}
function curl(path, fields, origin, hasKey) {
  const key = hasKey ? `  -H 'Authorization: Bearer YOUR_KEY' \\
` : "";
  const body = JSON.stringify(fields, null, 2).replaceAll("'", `'\\''`);
  return `curl -N ${origin}${path} \\
${key}  -H 'Content-Type: application/json' \\
  -d '${body}'`;
}
function python(fields, origin, hasKey) {
  const { model, prompt, messages, stream, max_tokens, ...others } = fields;
  const known = { model, ...messages ? { messages } : { prompt }, max_tokens, stream };
  const standard = /^(temperature|top_p|n|seed|stop|logprobs|presence_penalty|frequency_penalty|logit_bias|user)$/;
  const extra = {};
  for (const [name, value] of Object.entries(others)) (standard.test(name) ? known : extra)[name] = value;
  if (Object.keys(extra).length) known.extra_body = extra;
  const given2 = Object.entries(known).filter(([, value]) => value !== void 0);
  const lines = given2.map(([name, value]) => `    ${name}=${literal(value)},`).join("\n");
  const method = messages ? "chat.completions" : "completions";
  const text = messages ? "choice.delta.content" : "choice.text";
  return `from openai import OpenAI

client = OpenAI(base_url="${origin}/v1", api_key="${hasKey ? "YOUR_KEY" : "none"}")
chunks = client.${method}.create(
${lines}
)
for chunk in chunks:
    for choice in chunk.choices:
        print(${text} or "", end="", flush=True)`;
}
function literal(value) {
  if (value === null) return "None";
  if (value === true) return "True";
  if (value === false) return "False";
  if (Array.isArray(value)) return `[${value.map(literal).join(", ")}]`;
  if (typeof value === "object") {
    return `{${Object.entries(value).map(([name, each]) => `${JSON.stringify(name)}: ${literal(each)}`).join(", ")}}`;
  }
  return JSON.stringify(value);
}
function grpc(path, fields, { origin, hasKey }, address) {
  const isChat = path.includes("chat");
  const { port, path: file, tls, client_certificate } = address;
  const target = file === null ? `${new URL(origin).hostname}:${port}` : `-unix ${file}`;
  const security = client_certificate ? " -cert client.pem -key client.key" : tls ? "" : " -plaintext";
  const message = JSON.stringify({ request: asMessage(fields) }, null, 2).replaceAll("'", `'\\''`);
  const key = hasKey ? `  -H 'authorization: Bearer YOUR_KEY' \\
` : "";
  const method = isChat ? "StreamChatCompletion" : "StreamCompletion";
  return `grpcurl${security} \\
${key}  -d '${message}' \\
  ${target} nucleus.v1.CompletionService/${method}`;
}
function asMessage(fields) {
  const { stream: _, prompt, structured_outputs, ...message } = fields;
  if (prompt !== void 0) message.prompt = { text: prompt };
  if (structured_outputs) {
    const forms = structured_outputs;
    message.structured_outputs = "json" in forms ? { json: JSON.stringify(forms.json) } : forms;
  }
  return message;
}
function javascript(path, fields, origin, hasKey) {
  const key = hasKey ? ` Authorization: "Bearer YOUR_KEY",` : "";
  const text = path.includes("chat") ? "delta.content" : "text";
  return `const response = await fetch("${origin}${path}", {
  method: "POST",
  headers: {${key} "Content-Type": "application/json" },
  body: JSON.stringify(${JSON.stringify(fields, null, 2).replaceAll("\n", "\n  ")}),
});
let rest = "";
for await (const bytes of response.body.pipeThrough(new TextDecoderStream())) {
  const events = (rest + bytes).split("\\n\\n");
  rest = events.pop();
  for (const event of events.filter((each) => each !== "data: [DONE]")) {
    process.stdout.write(JSON.parse(event.slice(6)).choices[0]?.${text} ?? "");
  }
}`;
}

// src/copy.ts
var CopyBox = class {
  /**
   * @param asked Returns the request; undefined if something is wrong or missing, which it says unless it is quiet.
   */
  constructor(session2, asked) {
    this.session = session2;
    this.asked = asked;
    const buttons = LANGUAGES.map(
      (language) => make("button", { type: "button", click: () => this.copy(language) }, language)
    );
    find("#copy", HTMLElement).append(...buttons);
    for (const event of ["input", "change", "click"]) document.addEventListener(event, () => this.follow());
  }
  session;
  asked;
  #box = find("#snippet", HTMLTextAreaElement);
  #language = null;
  #grpc = null;
  async copy(language) {
    if (!await this.session.ready()) return;
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
  follow() {
    if (!this.#language) return;
    const asked = this.session.fields ? this.asked(true) : void 0;
    this.#box.value = asked ? this.#written(this.#language, asked) : "Something is wrong or missing.";
  }
  #written(language, { path, fields }) {
    const place = { origin: location.origin, hasKey: this.session.api.key !== "", grpc: this.#grpc };
    return snippet(language, path, fields, place);
  }
  async #address() {
    return (await this.session.api.get("/version")).grpc;
  }
};

// src/fields.ts
var ELSEWHERE = /^(model|prompt|messages|stream|stream_options|logprobs|echo|user|suffix|best_of|return_token_ids|resume_token_ids|guided_.*|repeat_penalty|grammar|json_schema|response_format|structured_outputs)$/;
function samplingFields(api2) {
  const request = api2.components.schemas.CompletionRequest;
  return Object.entries(request?.properties ?? {}).filter(([name]) => !ELSEWHERE.test(name)).map(([name, schema]) => field(name, schema, api2));
}
function mostLogprobs(api2) {
  const schema = api2.components.schemas.CompletionRequest?.properties?.logprobs;
  return (schema && field("logprobs", schema, api2).most) ?? 0;
}
function field(name, schema, api2) {
  const shapes = shapesOf(schema, api2);
  const limits = shapes.find((each) => each.type === "integer" || each.type === "number") ?? {};
  const least = limits.minimum ?? limits.exclusiveMinimum;
  return {
    name,
    kind: kindOf(shapes, api2),
    description: schema.description ?? "",
    fallback: schema.default ?? null,
    isAbove: limits.exclusiveMinimum !== void 0,
    ...least !== void 0 && { least },
    ...limits.maximum !== void 0 && { most: limits.maximum }
  };
}
function shapesOf(schema, api2) {
  const named = schema.$ref && api2.components.schemas[schema.$ref.split("/").at(-1) ?? ""];
  if (named) return shapesOf(named, api2);
  if (schema.anyOf) return schema.anyOf.flatMap((each) => shapesOf(each, api2));
  return Array.isArray(schema.type) ? schema.type.map((type) => ({ ...schema, type })) : [schema];
}
function kindOf(shapes, api2) {
  const list = shapes.find((shape) => shape.type === "array");
  if (list) {
    const items = list.items ? shapesOf(list.items, api2) : [];
    return items.some((item) => item.type === "integer") ? "integers" : "strings";
  }
  const type = shapes.find((shape) => shape.type !== "null")?.type;
  switch (type) {
    case "integer":
    case "number":
    case "boolean":
    case "string":
      return type;
    default:
      return "json";
  }
}
function parse(field2, text) {
  const given2 = text.trim();
  switch (field2.kind) {
    case "integer":
    case "number":
      return given2 === "" ? void 0 : number(field2, given2);
    case "integers":
      return given2 === "" ? void 0 : given2.split(/[\s,]+/).map((each) => number(field2, each));
    case "strings":
      return text === "" ? void 0 : text.split("\n").filter(Boolean).map(unescaped);
    case "json":
      return given2 === "" ? void 0 : json(field2, given2);
    default:
      return text || void 0;
  }
}
function number(field2, text) {
  const isWhole = field2.kind !== "number";
  const isRight = isWhole ? /^[-+]?\d+$/.test(text) : text !== "" && Number.isFinite(Number(text));
  if (!isRight) throw new Error(`should be ${isWhole ? "an integer" : "a number"}, not ${text.slice(0, 40)}`);
  const value = Number(text);
  if (isWhole && !Number.isSafeInteger(value)) {
    throw new Error(`should be at most ${Number.MAX_SAFE_INTEGER} in a browser, not ${text}`);
  }
  const { least, most, isAbove } = field2;
  if (least !== void 0 && (value < least || isAbove && value === least)) {
    throw new Error(`should be ${isAbove ? "above" : "at least"} ${least}, not ${text}`);
  }
  if (most !== void 0 && value > most) throw new Error(`should be at most ${most}, not ${text}`);
  return value;
}
function json(field2, text) {
  try {
    return JSON.parse(text);
  } catch {
    throw new Error(`${field2.name} should be JSON`);
  }
}
function unescaped(line) {
  return line.replace(/\\([ntr\\])/g, (_, letter) => ({ n: "\n", t: "	", r: "\r" })[letter] ?? "\\");
}

// src/form.ts
var FIRST = ["max_tokens", "temperature", "top_p", "n", "seed", "stop"];
var FieldForm = class {
  #rows;
  #others;
  #summary = make("summary");
  constructor(panel, fields) {
    const first = FIRST.flatMap((name) => fields.filter((field2) => field2.name === name));
    const others = fields.filter((field2) => !first.includes(field2));
    const more = make("details", {}, this.#summary);
    this.#rows = [...first, ...others].map((field2) => {
      const row = rowOf(field2);
      const place = first.includes(field2) ? panel : more;
      place.append(shown(row));
      row.input.addEventListener("input", () => {
        tell(row, "");
        this.#count();
      });
      row.input.addEventListener("blur", () => afterPress(() => this.#leave(row)));
      return row;
    });
    this.#others = this.#rows.filter(({ field: field2 }) => others.includes(field2));
    this.#count();
    panel.append(more);
  }
  /** Say what is wrong; what the server said of the field stays until it is changed. */
  #leave(row) {
    const problem = problemOf(row);
    if (problem) tell(row, problem);
  }
  /** Tell how many of the fields that may be folded away are set. */
  #count() {
    const set = this.#others.filter(({ input }) => textOf2(input)).length;
    this.#summary.textContent = `${this.#others.length} more${set ? `, ${set} set` : ""}`;
  }
  /** Return the fields that are not left at their defaults; undefined if one of them is wrong.
   *
   * @param isQuiet Whether nothing is said then, and the keyboard's focus stays.
   */
  values(isQuiet = false) {
    const values = {};
    let wrong;
    for (const row of this.#rows) {
      const problem = problemOf(row);
      if (!isQuiet) tell(row, problem);
      if (problem) wrong ??= row;
      else if (given(row) !== void 0) values[row.field.name] = given(row);
    }
    if (wrong && !isQuiet) {
      unfold(wrong);
      wrong.input.focus();
    }
    return wrong ? void 0 : values;
  }
  /** What a field is where nothing is typed. */
  fallback(name) {
    return this.#rows.find(({ field: field2 }) => field2.name === name)?.field.fallback;
  }
  /** What was typed, by field. */
  typed() {
    return Object.fromEntries(
      this.#rows.flatMap(({ field: field2, input }) => {
        const text = textOf2(input);
        return text ? [[field2.name, text]] : [];
      })
    );
  }
  /** Type into the fields, and empty the others. */
  type(typed2) {
    for (const { field: field2, input } of this.#rows) {
      const text = typed2[field2.name] ?? "";
      if (isBox(input)) input.checked = text === "true";
      else input.value = text;
    }
    this.#count();
  }
  /** Let a field take no value, and say why; an empty reason lets it take one again. */
  disable(name, reason) {
    const row = this.#rows.find((each) => each.field.name === name);
    if (!row) return;
    row.input.disabled = reason !== "";
    row.note.textContent = reason;
    tell(row, "");
  }
  /** Show what the server said of a field; return False if it is none of these. */
  complain(name, problem) {
    const row = this.#rows.find((each) => each.field.name === name);
    if (row) {
      unfold(row);
      tell(row, problem);
    }
    return row !== void 0;
  }
};
function isBox(input) {
  return input.type === "checkbox";
}
function textOf2(input) {
  return isBox(input) ? input.checked ? "true" : "" : input.value;
}
function unfold({ input }) {
  const section = input.closest("details");
  if (section) section.open = true;
}
function given({ field: field2, input }) {
  if (input.disabled) return void 0;
  if (isBox(input)) return input.checked || void 0;
  return parse(field2, input.value);
}
function problemOf(row) {
  try {
    given(row);
    return "";
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}
function afterPress(action) {
  if (!document.documentElement.matches(":active")) action();
  else addEventListener("pointerup", () => setTimeout(action), { once: true });
}
function rowOf(field2) {
  const id = `field-${field2.name}`;
  const described = { id, "aria-describedby": `${id}-note ${id}-help ${id}-problem` };
  const input = field2.kind === "boolean" ? make("input", { ...described, type: "checkbox" }) : field2.kind === "strings" ? make("textarea", { ...described, rows: "3", placeholder: "one a line; \\n is a line break" }) : make("input", {
    ...described,
    type: "text",
    inputmode: field2.kind === "number" || field2.kind === "integer" ? "decimal" : "text",
    placeholder: placeholder(field2),
    autocomplete: "off",
    spellcheck: "false"
  });
  const problem = make("p", { id: `${id}-problem`, class: "problem", "aria-live": "polite" });
  const note = make("p", { id: `${id}-note`, class: "note" });
  return { field: field2, input, problem, note };
}
function shown({ field: field2, input, problem, note }) {
  const help = make("p", { id: `field-${field2.name}-help`, class: "help" }, ...withCode(describe2(field2)));
  const label = make("label", { for: input.id }, field2.name);
  return make("div", { class: "field" }, label, input, note, help, problem);
}
function describe2(field2) {
  const { least, most, isAbove } = field2;
  const huge = 2 ** 31;
  const low = least === void 0 || least <= -huge ? "" : `${isAbove ? "above" : "from"} ${least}`;
  const high = most === void 0 || most >= huge ? "" : `to ${most}`;
  const range = [low, high].filter(Boolean).join(" ");
  return range ? `${field2.description} (${range})` : field2.description;
}
function placeholder(field2) {
  if (field2.kind === "json") return field2.name === "logit_bias" ? '{"7": -100}' : "";
  if (field2.kind === "integers") return "none";
  return field2.fallback === null ? "none" : String(field2.fallback);
}
function tell({ input, problem }, text) {
  problem.textContent = text;
  input.setAttribute("aria-invalid", String(text !== ""));
}

// src/score.ts
var PATH3 = "/v1/completions";
var MOST_SURPRISING = 8;
var SURPRISING = Math.log(0.2);
var CONTEXT = 4;
var ScoreTab = class {
  constructor(session2) {
    this.session = session2;
    find("#score", HTMLButtonElement).addEventListener("click", () => this.score());
  }
  session;
  #texts = [find("#score-a", HTMLTextAreaElement), find("#score-b", HTMLTextAreaElement)];
  #results = find("#scores", HTMLElement);
  /** The texts as they were typed; undefined if all are empty. */
  get texts() {
    const texts = this.#texts.map((box) => box.value);
    return texts.some(Boolean) ? texts : void 0;
  }
  set texts(texts) {
    this.#texts.forEach((box, i) => {
      box.value = texts[i] ?? "";
    });
  }
  async score() {
    if (!await this.session.ready()) return;
    const boxes = this.#texts.filter((box) => box.value);
    const texts = boxes.map((box) => box.value);
    if (!texts.length) {
      this.#results.replaceChildren(make("p", {}, "There is nothing to score: type or paste a text above."));
      this.#texts[0]?.focus();
      return;
    }
    const fields = {
      model: this.session.model.id,
      prompt: texts.length === 1 ? texts[0] : texts,
      max_tokens: 0,
      echo: true,
      logprobs: this.session.logprobs
    };
    await this.session.run(async (signal) => {
      const answer = await this.session.api.post(PATH3, fields, signal);
      const scored = answer.choices.map((choice) => new TokenReader().read(choice));
      const values = scored.map((tokens) => perplexity(tokens).value);
      const least = Math.min(...values);
      this.#results.replaceChildren(
        ...scored.map((tokens, i) => {
          const name = boxes[i] === this.#texts[1] ? "Text B" : "Text A";
          return this.#column(tokens, name, values.length > 1 && values[i] === least);
        })
      );
    });
  }
  #column(tokens, name, isLeast) {
    const { value, count, mean } = perplexity(tokens);
    const figures = `perplexity ${figure(value, 4)} over ${count} tokens, mean log-probability ${mean.toFixed(3)}`;
    const status = make(
      "span",
      { class: "status" },
      isLeast ? `${figures}, the less surprising one` : figures
    );
    const view = new TextView(name, {
      onLook: (shown2, at, element) => {
        const token = shown2.tokens[at];
        if (token) this.session.inspector.show(token, element);
      },
      onLeave: () => this.session.inspector.hideSoon()
    });
    view.append(tokens);
    return make(
      "article",
      { class: "column" },
      make("header", {}, make("h2", {}, name), status),
      view.element,
      make("h3", {}, "Most surprising"),
      surprises(tokens)
    );
  }
};
function surprises(tokens) {
  const found = tokens.flatMap(({ logprob }, index) => logprob !== null && logprob < SURPRISING ? [{ index, logprob }] : []).sort((a, b) => a.logprob - b.logprob).slice(0, MOST_SURPRISING);
  if (!found.length) return make("p", { class: "help" }, "Nothing: each token had 20 % or more.");
  const items = found.map(({ index, logprob }) => {
    const before = textOf(tokens.slice(Math.max(0, index - CONTEXT), index));
    const name = tokens[index]?.name ?? "";
    return make(
      "li",
      {},
      make("span", { class: "before" }, `${index > CONTEXT ? "\u2026" : ""}${before}`),
      make("code", {}, visible(name)),
      ` ${percent(logprob)}`
    );
  });
  return make("ol", { class: "surprising" }, ...items);
}

// src/chart.ts
function chart(bars, { what, unit, ends }, places) {
  const most = Math.max(...bars.map(({ value }) => value), 0);
  const top = rounded(most);
  const drawn = bars.map(({ label, value }) => {
    const bar = make("span", { title: `${label && `${label}: `}${figure2(value)} ${unit}` });
    bar.style.blockSize = `${100 * value / top}%`;
    bar.style.inlineSize = `${100 / Math.max(places, 1)}%`;
    return bar;
  });
  const scale = [`${figure2(top)} ${unit}`, figure2(top / 2), "0"].map((text) => make("span", {}, text));
  const labels = ends.length ? ends : bars.map(({ label }) => label);
  const axis = make("div", { class: "axis" }, ...labels.map((label) => make("span", {}, label)));
  axis.classList.toggle("between", ends.length > 0);
  return make(
    "figure",
    {},
    make(
      "div",
      { class: "chart", "aria-hidden": "true" },
      make("div", { class: "scale" }, ...scale),
      make("div", { class: "bars" }, ...drawn),
      axis
    ),
    make("figcaption", {}, bars.length ? `${what}; at most ${figure2(most)} ${unit}` : what)
  );
}
function rounded(value) {
  if (value <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return ([1, 2, 5].find((each) => each * power >= value) ?? 10) * power;
}
function figure2(value) {
  return String(Number(value.toPrecision(3)));
}

// src/server.ts
var EVERY_MS = 1e3;
var HISTORY = 60;
var ServerTab = class {
  constructor(session2) {
    this.session = session2;
  }
  session;
  #figures = find("#figures", HTMLElement);
  #slots = find("#slots", HTMLElement);
  #idle = find("#idle", HTMLElement);
  #speed = find("#speed", HTMLElement);
  #cost = find("#cost", HTMLElement);
  #moments = [];
  #timer = 0;
  /** Look at the server every second until it is hidden; not without a key where one is needed. */
  show() {
    this.hide();
    this.#moments = [];
    if (this.session.fields) this.#look();
  }
  hide() {
    clearTimeout(this.#timer);
    this.#timer = 0;
  }
  async #look() {
    const timer = window.setTimeout(() => this.#look(), EVERY_MS);
    this.#timer = timer;
    try {
      const state2 = await this.session.api.get("/state");
      if (this.#timer !== timer) return;
      this.session.tell("");
      this.#moments = [...this.#moments, { at: performance.now(), state: state2 }].slice(-HISTORY);
      this.#draw(state2);
    } catch (error) {
      if (this.#timer !== timer) return;
      this.hide();
      if (error instanceof ApiError && error.needsKey) {
        await this.session.run(this.session.load);
        return;
      }
      this.session.complain(error);
      this.#timer = window.setTimeout(() => this.#look(), EVERY_MS);
    }
  }
  #draw(state2) {
    const { kv, totals } = state2;
    const share2 = (part, whole) => whole ? `${(100 * part / whole).toFixed(0)} %` : "\u2013";
    const total = (name) => totals[name] ?? 0;
    const figures = [
      ["model", state2.model],
      ["up", duration(state2.uptime_seconds)],
      ["running", `${state2.slots.length} of ${state2.n_slots}`],
      ["waiting", String(state2.waiting)],
      ["tokens/s", this.#rate("completion_tokens").toFixed(1)],
      ["requests", String(total("requests"))],
      ["KV cache", `${kv.used} of ${kv.cells} (${share2(kv.used, kv.cells)})`],
      [
        "saved prefixes",
        String(kv.saved_prefixes),
        "beginnings of prompts, kept outside of the KV cache so that they need not be computed again"
      ],
      ["prompt tokens from the cache", share2(total("cached_tokens"), total("prompt_tokens"))],
      [
        "guesses that were right",
        share2(total("accepted_tokens"), total("drafted_tokens")),
        "of the tokens guessed from the text before; each right one spares a step"
      ],
      ["forced by a form", String(total("forced_tokens"))]
    ];
    this.#figures.replaceChildren(
      ...figures.map(
        ([name, value, meaning]) => make(
          "div",
          {},
          make("dt", {}, name),
          make("dd", {}, value),
          ...meaning ? [make("dd", { class: "help" }, meaning)] : []
        )
      )
    );
    this.#idle.hidden = state2.slots.length > 0;
    this.#slots.replaceChildren(...state2.slots.map((slot) => this.#row(slot, kv.cells)));
    const seconds = HISTORY * EVERY_MS / 1e3;
    const speed2 = { what: "tokens generated", unit: "tokens/s", ends: [`${seconds} s ago`, "now"] };
    this.#speed.replaceChildren(chart(this.#rates("completion_tokens"), speed2, HISTORY));
    const cost = Object.entries(state2.step_ms).map(([width, ms]) => ({ label: width, value: ms }));
    const step = { what: "a step, by tokens decoded in it", unit: "ms", ends: [] };
    this.#cost.replaceChildren(chart(cost, step, cost.length));
  }
  #row(slot, cells) {
    const runs = slot.runs.map(({ part, tokens }) => {
      const run = make("span", { class: `run part${part % 8}`, title: `${tokens} tokens` });
      run.style.inlineSize = `${100 * tokens / cells}%`;
      return run;
    });
    const held = slot.runs.reduce((sum, run) => sum + run.tokens, 0);
    const words = [
      `slot ${slot.slot}`,
      slot.phase,
      `${held} tokens in the cache`,
      `${slot.generated_tokens} of ${slot.max_tokens} generated`,
      slot.preempted ? `preempted ${slot.preempted}\xD7` : ""
    ];
    return make(
      "li",
      {},
      make("span", { class: "runs", "aria-hidden": "true" }, ...runs),
      make("span", { class: "help" }, words.filter(Boolean).join(" \xB7 "))
    );
  }
  #rates(name) {
    return this.#moments.slice(1).map((moment, i) => {
      const before = this.#moments[i] ?? moment;
      const tokens = (moment.state.totals[name] ?? 0) - (before.state.totals[name] ?? 0);
      return { label: "", value: 1e3 * tokens / Math.max(moment.at - before.at, 1) };
    });
  }
  #rate(name) {
    const last = this.#rates(name).slice(-3);
    return last.reduce((sum, { value }) => sum + value, 0) / Math.max(last.length, 1);
  }
};
function duration(seconds) {
  const minutes = Math.floor(seconds / 60);
  const parts = [
    [Math.floor(minutes / 1440), "d"],
    [Math.floor(minutes / 60) % 24, "h"],
    [minutes % 60, "min"]
  ];
  const told = parts.filter(([count]) => count).map(([count, unit]) => `${count} ${unit}`);
  return told.join(" ") || `${Math.floor(seconds)} s`;
}

// src/structure.ts
var EXAMPLES = {
  json: JSON.stringify(
    {
      type: "object",
      properties: {
        city: { type: "string", maxLength: 40 },
        country: { type: "string", maxLength: 40 },
        people: { type: "integer", minimum: 0, maximum: 4e7 }
      },
      required: ["city", "country", "people"],
      additionalProperties: false
    },
    null,
    2
  ),
  regex: "[A-Z][a-z]+, (18|19|20)[0-9]{2}",
  choice: "yes\nno\nperhaps",
  grammar: 'start: "The " WORD " is " WORD "."\nWORD: /[a-z]+/'
};
var HELP = {
  json: "A JSON schema, draft 2020-12.",
  regex: "The whole answer matches it.",
  choice: "One string a line; the answer is one of them.",
  grammar: "In Lark's syntax, or in GBNF."
};
var StructureForm = class {
  #kind = find("#form-kind", HTMLSelectElement);
  #text = find("#form-text", HTMLTextAreaElement);
  #help = find("#form-help", HTMLElement);
  #problem = find("#form-problem", HTMLElement);
  #typed = {};
  constructor() {
    this.#kind.addEventListener("change", () => this.#show());
    this.#text.addEventListener("input", () => {
      this.#typed[this.#kind.value] = this.#text.value;
      this.#check();
    });
    this.#show();
  }
  get isAsked() {
    return this.#kind.value !== "";
  }
  /** Return the field of a request that asks for the form; undefined if it is wrong, and say so. */
  values(isQuiet = false) {
    if (!this.isAsked) return {};
    if (!this.#check()) {
      if (!isQuiet) this.#text.focus();
      return void 0;
    }
    return { structured_outputs: { [this.#kind.value]: this.#value() } };
  }
  complain(problem) {
    this.#problem.textContent = problem;
  }
  typed() {
    return this.isAsked ? { kind: this.#kind.value, text: this.#text.value } : void 0;
  }
  type(typed2) {
    this.#kind.value = typed2 && typed2.kind in EXAMPLES ? typed2.kind : "";
    if (typed2) this.#typed[typed2.kind] = typed2.text;
    this.#show();
  }
  #show() {
    const kind = this.#kind.value;
    this.#text.hidden = this.#help.hidden = !kind;
    this.#text.value = this.#typed[kind] ?? EXAMPLES[kind] ?? "";
    this.#help.textContent = HELP[kind] ?? "";
    this.#check();
  }
  #value() {
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
  #check() {
    let problem = "";
    try {
      if (this.isAsked) this.#value();
    } catch (error) {
      problem = error instanceof Error ? error.message : String(error);
    }
    this.complain(problem);
    return problem === "";
  }
};

// src/session.ts
var Session = class {
  constructor(api2, inspector2, askForKey2, load2) {
    this.api = api2;
    this.inspector = inspector2;
    this.askForKey = askForKey2;
    this.load = load2;
  }
  api;
  inspector;
  askForKey;
  load;
  fields = null;
  structure = new StructureForm();
  model = { id: "", max_model_len: 0, n_vocab: 0 };
  /** Alternatives of each token that are asked for. */
  logprobs = 0;
  #alert = find("#alert", HTMLElement);
  #locked = find("#locked", HTMLElement);
  #running = null;
  get isRunning() {
    return this.#running !== null;
  }
  /** Load the page if the server did not let it before, as without a key; return false if it still does not. */
  async ready() {
    return this.fields !== null || await this.run(this.load);
  }
  /** Return what every request has; undefined if something that was typed is wrong.
   *
   * @param isQuiet Whether the keyboard's focus stays where it is, also if something is wrong.
   */
  request(isQuiet = false) {
    const fields = this.fields?.values(isQuiet);
    const form = this.structure.values(isQuiet);
    return fields && form && { model: this.model.id, ...fields, ...form };
  }
  /** Run a request that can be stopped; show what goes wrong, and ask for a key where one is needed.
   *
   * @returns true if it ran to its end.
   */
  async run(work) {
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
  stop() {
    this.#running?.abort();
    this.#running = null;
    this.#show(false);
  }
  /** Do something, and once more with a key if the server asks for one. */
  async #withKey(work) {
    for (; ; ) {
      try {
        await work();
        this.#locked.hidden = true;
        return;
      } catch (error) {
        if (!(error instanceof ApiError && error.needsKey && await this.askForKey())) throw error;
      }
    }
  }
  /** Say what went wrong: beside the field that is at fault, or above the text. */
  complain(error) {
    if (error instanceof ApiError && error.needsKey) {
      this.#locked.hidden = false;
    } else if (error instanceof ApiError) {
      const field2 = error.param?.split(/[.[]/)[0] ?? "";
      if (field2 === "structured_outputs") this.structure.complain(error.message);
      else this.fields?.complain(field2, error.message);
      this.tell(error.message, error.code);
    } else {
      this.tell(error instanceof Error ? error.message : String(error), "page");
      console.error(error);
    }
  }
  tell(message, code = "") {
    this.#alert.hidden = !message;
    this.#alert.replaceChildren(message, code ? make("code", {}, code) : "");
  }
  #show(isRunning) {
    document.body.classList.toggle("running", isRunning);
    for (const button of document.querySelectorAll(".stop")) button.disabled = !isRunning;
  }
};

// src/share.ts
var LONGEST = 8e3;
var LONG = { chat: "the conversation", score: "the texts to score" };
async function packShort(state2) {
  let shared = state2;
  let fragment = await pack(shared);
  const lacks = [];
  for (const part of ["chat", "score"]) {
    if (fragment.length <= LONGEST || !shared[part]) continue;
    const { [part]: _, ...others } = shared;
    shared = others;
    fragment = await pack(shared);
    lacks.push(LONG[part]);
  }
  return { fragment, lacks };
}
async function pack(state2) {
  const bytes = new TextEncoder().encode(JSON.stringify(state2));
  const packed = await through(bytes, new CompressionStream("deflate-raw"));
  const letters = Array.from(packed, (byte) => String.fromCharCode(byte)).join("");
  return btoa(letters).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}
async function unpack(fragment) {
  try {
    const letters = atob(fragment.replaceAll("-", "+").replaceAll("_", "/"));
    const packed = Uint8Array.from(letters, (letter) => letter.charCodeAt(0));
    const state2 = JSON.parse(
      new TextDecoder().decode(await through(packed, new DecompressionStream("deflate-raw")))
    );
    return checked(state2);
  } catch {
    return {};
  }
}
function checked(state2) {
  const { tab, prompt, fields, form, chat: chat2, score: score2 } = state2;
  const shared = {};
  if (typeof tab === "string") shared.tab = tab;
  if (typeof prompt === "string") shared.prompt = prompt;
  if (fields && typeof fields === "object") {
    shared.fields = Object.fromEntries(
      Object.entries(fields).flatMap(([name, text2]) => typeof text2 === "string" ? [[name, text2]] : [])
    );
  }
  const { kind, text } = form ?? {};
  if (typeof kind === "string" && typeof text === "string") shared.form = { kind, text };
  const { system, draft, messages } = chat2 ?? {};
  if (typeof system === "string" && typeof draft === "string" && Array.isArray(messages))
    shared.chat = { system, draft, messages: messages.filter(isMessage) };
  if (Array.isArray(score2)) shared.score = score2.map(String);
  return shared;
}
function isMessage(message) {
  return /^(user|assistant)$/.test(message?.role) && typeof message.content === "string";
}
async function through(bytes, stream) {
  const response = new Response(new Blob([bytes]).stream().pipeThrough(stream));
  return new Uint8Array(await response.arrayBuffer());
}

// src/storage.ts
var NAME = "nucleus-playground";
function store(stored2) {
  try {
    sessionStorage.setItem(NAME, JSON.stringify(stored2));
  } catch {
  }
}
function stored() {
  try {
    const { hash, theme, state: state2 } = JSON.parse(sessionStorage.getItem(NAME) ?? "");
    return {
      hash: String(hash),
      theme: theme === "light" || theme === "dark" ? theme : null,
      state: checked(state2)
    };
  } catch {
    return void 0;
  }
}

// src/main.ts
var TABS = ["complete", "chat", "score", "server"];
var api = new Api();
var inspector = new Inspector(find("#inspector", HTMLElement));
var session = new Session(api, inspector, askForKey, load);
var complete = new CompleteTab(session);
var chat = new ChatTab(session);
var score = new ScoreTab(session);
var server = new ServerTab(session);
var copying = new CopyBox(session, (isQuiet) => (current() === "chat" ? chat : complete).asked(isQuiet));
var typed = { max_tokens: "64" };
async function askForKey() {
  const dialog = find("#key-dialog", HTMLDialogElement);
  const input = find("#key", HTMLInputElement);
  find("#key-wrong", HTMLElement).hidden = !api.key;
  input.value = "";
  dialog.returnValue = "";
  dialog.showModal();
  await new Promise((resolve) => dialog.addEventListener("close", resolve, { once: true }));
  api.key = dialog.returnValue === "use" ? input.value.trim() : "";
  input.value = "";
  return api.key !== "";
}
function choose(name) {
  for (const each of TABS) {
    const tab = find(`#tab-${each}`, HTMLButtonElement);
    tab.setAttribute("aria-selected", String(each === name));
    tab.tabIndex = each === name ? 0 : -1;
    find(`#panel-${each}`, HTMLElement).hidden = each !== name;
  }
  document.body.dataset.tab = name;
  inspector.close();
  fitFields();
  copying.follow();
  if (name === "server") server.show();
  else server.hide();
}
function fitFields() {
  session.fields?.disable("n", current() === "chat" ? "A chat has one answer." : "");
}
function current() {
  return TABS.find((name) => name === document.body.dataset.tab) ?? "complete";
}
function listen() {
  for (const name of TABS) {
    const tab = find(`#tab-${name}`, HTMLButtonElement);
    tab.addEventListener("click", () => choose(name));
    tab.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      const next = TABS[(TABS.indexOf(name) + step + TABS.length) % TABS.length] ?? name;
      choose(next);
      find(`#tab-${next}`, HTMLButtonElement).focus();
    });
  }
  for (const button of document.querySelectorAll(".stop"))
    button.addEventListener("click", () => session.stop());
  find("#share", HTMLButtonElement).addEventListener("click", share);
  find("#theme", HTMLButtonElement).addEventListener("click", changeTheme);
  find("#give-key", HTMLButtonElement).addEventListener("click", () => session.run(load));
  addEventListener("keydown", (event) => {
    if (find("#key-dialog", HTMLDialogElement).open) return;
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      const does = {
        complete: () => complete.complete(),
        chat: () => chat.send(),
        score: () => score.score()
      };
      const name = current();
      if (name !== "server") does[name]();
    } else if (event.key === "Escape") {
      inspector.close();
      session.stop();
    } else if (event.key === "Enter" && event.target instanceof HTMLElement && event.target.matches(".text")) {
      event.preventDefault();
      inspector.focus();
    }
  });
  addEventListener("hashchange", async () => {
    if (location.hash.length > 1) show(await unpack(location.hash.slice(1)));
  });
  addEventListener("pagehide", keep);
  addEventListener("resize", () => inspector.close());
}
function state() {
  const form = session.structure.typed();
  const { conversation } = chat;
  const { texts } = score;
  return {
    tab: current(),
    prompt: complete.prompt,
    fields: session.fields?.typed() ?? typed,
    ...form && { form },
    ...conversation && { chat: conversation },
    ...texts && { score: texts }
  };
}
async function share() {
  const { fragment, lacks } = await packShort(state());
  history.replaceState(null, "", `#${fragment}`);
  const without = lacks.length ? `, without ${lacks.join(" and ")}: too long for it` : "";
  const copied = await copyText(location.href) ? " It was copied." : "";
  notify(`The address holds what you typed${without}.${copied}`);
}
function show(state2) {
  if (state2.prompt !== void 0) complete.prompt = state2.prompt;
  if (state2.fields) {
    typed = state2.fields;
    session.fields?.type(typed);
  }
  session.structure.type(state2.form);
  if (state2.chat) chat.conversation = state2.chat;
  if (state2.score) score.texts = state2.score;
  choose(TABS.find((name) => name === state2.tab) ?? current());
}
async function restore() {
  const { hash } = location;
  const before = stored();
  if (before?.theme) document.documentElement.dataset.theme = before.theme;
  if (before?.hash === hash) show(before.state);
  else if (hash.length > 1) show(await unpack(hash.slice(1)));
}
function keep() {
  const { theme } = document.documentElement.dataset;
  store({ hash: location.hash, theme: theme === "light" || theme === "dark" ? theme : null, state: state() });
}
function changeTheme() {
  const root = document.documentElement;
  const isDark = matchMedia("(prefers-color-scheme: dark)").matches;
  const now = root.dataset.theme ?? (isDark ? "dark" : "light");
  root.dataset.theme = now === "dark" ? "light" : "dark";
}
async function load() {
  const [openapi, models] = await Promise.all([
    api.get("/openapi.json"),
    api.get("/v1/models")
  ]);
  const [model] = models.data;
  if (model) session.model = model;
  session.logprobs = Math.min(5, mostLogprobs(openapi));
  find("#model", HTMLElement).textContent = `${session.model.id} \xB7 context ${session.model.max_model_len}`;
  const panel = find("#fields", HTMLElement);
  typed = session.fields?.typed() ?? typed;
  panel.replaceChildren();
  session.fields = new FieldForm(panel, samplingFields(openapi));
  session.fields.type(typed);
  fitFields();
  if (current() === "server") server.show();
  document.body.dataset.ready = "true";
}
async function start() {
  listen();
  choose("complete");
  await restore();
  await session.ready();
}
start();
