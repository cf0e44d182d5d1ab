/** A request in the words of other programs. */

import type { Fields, GrpcAddress } from "./api";

export const LANGUAGES = ["curl", "Python", "gRPC", "JavaScript"] as const;
export type Language = (typeof LANGUAGES)[number];

/** Where the server is, and whether it asks for a key. */
export interface Place {
  origin: string;
  hasKey: boolean;
  grpc: GrpcAddress | null;
}

/** Write the request that was sent.
 *
 * @param path The route, which tells the shape: a completion or a chat.
 */
export function snippet(language: Language, path: string, fields: Fields, place: Place): string {
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

function curl(path: string, fields: Fields, origin: string, hasKey: boolean): string {
  const key = hasKey ? `  -H 'Authorization: Bearer YOUR_KEY' \\\n` : "";
  const body = JSON.stringify(fields, null, 2).replaceAll("'", `'\\''`);
  return `curl -N ${origin}${path} \\\n${key}  -H 'Content-Type: application/json' \\\n  -d '${body}'`;
}

function python(fields: Fields, origin: string, hasKey: boolean): string {
  const { model, prompt, messages, stream, max_tokens, ...others } = fields;
  const known: Fields = { model, ...(messages ? { messages } : { prompt }), max_tokens, stream };
  const standard =
    /^(temperature|top_p|n|seed|stop|logprobs|presence_penalty|frequency_penalty|logit_bias|user)$/;
  const extra: Fields = {};
  for (const [name, value] of Object.entries(others)) (standard.test(name) ? known : extra)[name] = value;
  if (Object.keys(extra).length) known.extra_body = extra;
  const given = Object.entries(known).filter(([, value]) => value !== undefined);
  const lines = given.map(([name, value]) => `    ${name}=${literal(value)},`).join("\n");
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

/** Write a value as Python does. */
function literal(value: unknown): string {
  if (value === null) return "None";
  if (value === true) return "True";
  if (value === false) return "False";
  if (Array.isArray(value)) return `[${value.map(literal).join(", ")}]`;
  if (typeof value === "object") {
    return `{${Object.entries(value as Fields)
      .map(([name, each]) => `${JSON.stringify(name)}: ${literal(each)}`)
      .join(", ")}}`;
  }
  return JSON.stringify(value);
}

function grpc(path: string, fields: Fields, { origin, hasKey }: Place, address: GrpcAddress): string {
  const isChat = path.includes("chat");
  const { port, path: file, tls, client_certificate } = address;
  const target = file === null ? `${new URL(origin).hostname}:${port}` : `-unix ${file}`;
  const security = client_certificate ? " -cert client.pem -key client.key" : tls ? "" : " -plaintext";
  const message = JSON.stringify({ request: asMessage(fields) }, null, 2).replaceAll("'", `'\\''`);
  const key = hasKey ? `  -H 'authorization: Bearer YOUR_KEY' \\\n` : "";
  const method = isChat ? "StreamChatCompletion" : "StreamCompletion";
  return `grpcurl${security} \\
${key}  -d '${message}' \\
  ${target} nucleus.v1.CompletionService/${method}`;
}

/** Return the fields as the message's JSON: a prompt has a form of its own, a schema is text. */
function asMessage(fields: Fields): Fields {
  const { stream: _, prompt, structured_outputs, ...message } = fields;
  if (prompt !== undefined) message.prompt = { text: prompt };
  if (structured_outputs) {
    const forms = structured_outputs as Fields;
    message.structured_outputs = "json" in forms ? { json: JSON.stringify(forms.json) } : forms;
  }
  return message;
}

function javascript(path: string, fields: Fields, origin: string, hasKey: boolean): string {
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
