/** What was typed, as the fragment of the page's address: it is never sent to anybody. */

export interface Shared {
  tab?: string;
  prompt?: string;
  fields?: Record<string, string>;
  form?: { kind: string; text: string };
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

function checked(state: unknown): Shared {
  const { tab, prompt, fields, form } = state as Record<string, unknown>;
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
  return shared;
}

async function through(bytes: Uint8Array<ArrayBuffer>, stream: CompressionStream | DecompressionStream) {
  const response = new Response(new Blob([bytes]).stream().pipeThrough(stream));
  return new Uint8Array(await response.arrayBuffer());
}
