/** What was typed, as the fragment of the page's address: it is never sent to anybody. */

export interface Message {
  role: "system" | "user" | "assistant";
  content: string;
}

export interface Conversation {
  system: string;
  messages: Message[];
  /** What is typed, and was not sent yet. */
  draft: string;
}

export interface Shared {
  tab?: string;
  prompt?: string;
  fields?: Record<string, string>;
  form?: { kind: string; text: string };
  chat?: Conversation;
  score?: string[];
}

/** Characters of a fragment that programs which pass addresses on still leave whole. */
const LONGEST = 8000;
const LONG = { chat: "the conversation", score: "the texts to score" } as const;

/** Write the state, without what makes it too long for an address.
 *
 * @returns The fragment, and what it lacks, in words.
 */
export async function packShort(state: Shared): Promise<{ fragment: string; lacks: string[] }> {
  let shared = state;
  let fragment = await pack(shared);
  const lacks: string[] = [];
  for (const part of ["chat", "score"] as const) {
    if (fragment.length <= LONGEST || !shared[part]) continue;
    const { [part]: _, ...others } = shared;
    shared = others;
    fragment = await pack(shared);
    lacks.push(LONG[part]);
  }
  return { fragment, lacks };
}

/** Write the state: JSON, packed, in the letters that an address may have. */
export async function pack(state: Shared): Promise<string> {
  const bytes = new TextEncoder().encode(JSON.stringify(state));
  const packed = await through(bytes, new CompressionStream("deflate-raw"));
  const letters = Array.from(packed, (byte) => String.fromCharCode(byte)).join("");
  return btoa(letters).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

/** Read the state back; an empty one where the address was damaged. */
export async function unpack(fragment: string): Promise<Shared> {
  try {
    const letters = atob(fragment.replaceAll("-", "+").replaceAll("_", "/"));
    const packed = Uint8Array.from(letters, (letter) => letter.charCodeAt(0));
    const state = JSON.parse(
      new TextDecoder().decode(await through(packed, new DecompressionStream("deflate-raw"))),
    );
    return checked(state);
  } catch {
    return {};
  }
}

/** Return what is as it should be of a state that comes from outside. */
export function checked(state: unknown): Shared {
  const { tab, prompt, fields, form, chat, score } = state as Record<string, unknown>;
  const shared: Shared = {};
  if (typeof tab === "string") shared.tab = tab;
  if (typeof prompt === "string") shared.prompt = prompt;
  if (fields && typeof fields === "object") {
    shared.fields = Object.fromEntries(
      Object.entries(fields).flatMap(([name, text]) => (typeof text === "string" ? [[name, text]] : [])),
    );
  }
  const { kind, text } = (form ?? {}) as Record<string, unknown>;
  if (typeof kind === "string" && typeof text === "string") shared.form = { kind, text };
  const { system, draft, messages } = (chat ?? {}) as Record<string, unknown>;
  if (typeof system === "string" && typeof draft === "string" && Array.isArray(messages))
    shared.chat = { system, draft, messages: messages.filter(isMessage) };
  if (Array.isArray(score)) shared.score = score.map(String);
  return shared;
}

function isMessage(message: Message): boolean {
  return /^(user|assistant)$/.test(message?.role) && typeof message.content === "string";
}

async function through(bytes: Uint8Array<ArrayBuffer>, stream: CompressionStream | DecompressionStream) {
  const response = new Response(new Blob([bytes]).stream().pipeThrough(stream));
  return new Uint8Array(await response.arrayBuffer());
}
