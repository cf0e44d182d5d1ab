/** Puts the page together. */

import { Api, type Model } from "./api";
import { ChatTab } from "./chat";
import { CompleteTab } from "./complete";
import { CopyBox } from "./copy";
import { copyText, find, notify } from "./dom";
import { mostLogprobs, type OpenApi, samplingFields } from "./fields";
import { FieldForm } from "./form";
import { ScoreTab } from "./score";
import { ServerTab } from "./server";
import { Session } from "./session";
import { packShort, type Shared, unpack } from "./share";
import { store, stored } from "./storage";
import { Inspector } from "./text";

const TABS = ["complete", "chat", "score", "server"] as const;
type TabName = (typeof TABS)[number];

const api = new Api();
const inspector = new Inspector(find("#inspector", HTMLElement));
const session = new Session(api, inspector, askForKey, load);
const complete = new CompleteTab(session);
const chat = new ChatTab(session);
const score = new ScoreTab(session);
const server = new ServerTab(session);
const copying = new CopyBox(session, (isQuiet) => (current() === "chat" ? chat : complete).asked(isQuiet));
/** What is typed into the fields as soon as there are any. */
let typed: Record<string, string> = { max_tokens: "64" };

/** Ask for the server's key; return False if none is given. */
async function askForKey(): Promise<boolean> {
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

function choose(name: TabName): void {
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

function fitFields(): void {
  session.fields?.disable("n", current() === "chat" ? "A chat has one answer." : "");
}

function current(): TabName {
  return TABS.find((name) => name === document.body.dataset.tab) ?? "complete";
}

function listen(): void {
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
    if (find("#key-dialog", HTMLDialogElement).open) return; // its keys are its own
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      const does = {
        complete: () => complete.complete(),
        chat: () => chat.send(),
        score: () => score.score(),
      };
      const name = current();
      if (name !== "server") does[name]();
    } else if (event.key === "Escape") {
      inspector.close();
      session.stop();
    } else if (
      event.key === "Enter" &&
      event.target instanceof HTMLElement &&
      event.target.matches(".text")
    ) {
      event.preventDefault(); // or it would press the button that gets the focus
      inspector.focus();
    }
  });
  addEventListener("hashchange", async () => {
    if (location.hash.length > 1) show(await unpack(location.hash.slice(1)));
  });
  addEventListener("pagehide", keep);
  addEventListener("resize", () => inspector.close());
}

function state(): Shared {
  const form = session.structure.typed();
  const { conversation } = chat;
  const { texts } = score;
  return {
    tab: current(),
    prompt: complete.prompt,
    fields: session.fields?.typed() ?? typed,
    ...(form && { form }),
    ...(conversation && { chat: conversation }),
    ...(texts && { score: texts }),
  };
}

async function share(): Promise<void> {
  const { fragment, lacks } = await packShort(state());
  history.replaceState(null, "", `#${fragment}`);
  const without = lacks.length ? `, without ${lacks.join(" and ")}: too long for it` : "";
  const copied = (await copyText(location.href)) ? " It was copied." : "";
  notify(`The address holds what you typed${without}.${copied}`);
}

function show(state: Shared): void {
  if (state.prompt !== undefined) complete.prompt = state.prompt;
  if (state.fields) {
    typed = state.fields;
    session.fields?.type(typed);
  }
  session.structure.type(state.form);
  if (state.chat) chat.conversation = state.chat;
  if (state.score) score.texts = state.score;
  choose(TABS.find((name) => name === state.tab) ?? current());
}

/** Show what the address holds, or what was typed over it before a reload. */
async function restore(): Promise<void> {
  const { hash } = location;
  const before = stored();
  if (before?.theme) document.documentElement.dataset.theme = before.theme;
  if (before?.hash === hash) show(before.state);
  else if (hash.length > 1) show(await unpack(hash.slice(1)));
}

function keep(): void {
  const { theme } = document.documentElement.dataset;
  store({ hash: location.hash, theme: theme === "light" || theme === "dark" ? theme : null, state: state() });
}

function changeTheme(): void {
  const root = document.documentElement;
  const isDark = matchMedia("(prefers-color-scheme: dark)").matches;
  const now = root.dataset.theme ?? (isDark ? "dark" : "light");
  root.dataset.theme = now === "dark" ? "light" : "dark";
}

/** Read what the server allows, and fill the page with it. */
async function load(): Promise<void> {
  const [openapi, models] = await Promise.all([
    api.get<OpenApi>("/openapi.json"),
    api.get<{ data: Model[] }>("/v1/models"),
  ]);
  const [model] = models.data;
  if (model) session.model = model;
  session.logprobs = Math.min(5, mostLogprobs(openapi));
  find("#model", HTMLElement).textContent = `${session.model.id} · context ${session.model.max_model_len}`;
  const panel = find("#fields", HTMLElement);
  typed = session.fields?.typed() ?? typed;
  panel.replaceChildren();
  session.fields = new FieldForm(panel, samplingFields(openapi));
  session.fields.type(typed);
  fitFields();
  if (current() === "server") server.show();
  document.body.dataset.ready = "true";
}

async function start(): Promise<void> {
  listen();
  choose("complete");
  await restore();
  await session.ready();
}

start();
