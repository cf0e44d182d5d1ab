/** The server's HTTP API: requests, streams and errors. */

export interface Logprobs {
  tokens: string[];
  token_logprobs: (number | null)[];
  top_logprobs: (Record<string, number> | null)[] | null;
  top_token_ids?: (Record<string, number> | null)[];
  text_offset: number[];
  /** Whether the form of the answer left no choice; only where it has one. */
  forced?: boolean[];
}

export interface Choice {
  index: number;
  text: string;
  logprobs: Logprobs | null;
  finish_reason: string | null;
  token_ids?: number[];
}

export interface Usage {
  prompt_tokens: number;
  completion_tokens: number;
  prompt_tokens_details: { cached_tokens: number };
  completion_tokens_details: { accepted_prediction_tokens: number };
}

export interface Completion {
  id: string;
  model: string;
  choices: Choice[];
  usage?: Usage | null;
}

export interface ChatChunk {
  choices: { index: number; delta: { content?: string }; finish_reason: string | null }[];
  usage?: Usage | null;
}

export interface Model {
  id: string;
  max_model_len: number;
  n_vocab: number;
}

/** Where the server's gRPC door is; its host is the page's. */
export interface GrpcAddress {
  port: number | null;
  /** The file of a Unix socket. */
  path: string | null;
  tls: boolean;
  client_certificate: boolean;
}

export type Fields = Record<string, unknown>;

/** A request: where it goes, and what it has. */
export interface Asked {
  path: string;
  fields: Fields;
}

interface ErrorDetail {
  message: string;
  code: string;
  param: string | null;
}

/** What the server refused, or how a stream ended before its time. */
export class ApiError extends Error {
  constructor(
    message: string,
    readonly code: string,
    readonly param: string | null = null,
    readonly status = 0,
  ) {
    super(message);
    this.name = "ApiError";
  }

  get needsKey(): boolean {
    return this.status === 401;
  }
}

/** Asks the server that the page came from. The key stays in memory, and goes to nobody else. */
export class Api {
  key = "";

  async get<T>(path: string, signal?: AbortSignal): Promise<T> {
    return (await this.#send(path, signal ? { signal } : {})).json();
  }

  async post<T>(path: string, fields: Fields, signal?: AbortSignal): Promise<T> {
    return (await this.#post(path, fields, signal)).json();
  }

  /** Yield the chunks of a streamed answer; an error that ends the stream is thrown. */
  async *stream<T>(path: string, fields: Fields, signal: AbortSignal): AsyncGenerator<T> {
    const response = await this.#post(path, { ...fields, stream: true }, signal);
    for await (const data of events(response)) {
      if (data === "[DONE]") return;
      const chunk = JSON.parse(data);
      if (chunk.error) throw failure(chunk.error, 0);
      yield chunk;
    }
    throw new ApiError("The connection ended before the answer did.", "disconnected");
  }

  #post(path: string, fields: Fields, signal?: AbortSignal): Promise<Response> {
    return this.#send(path, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(fields),
      ...(signal && { signal }),
    });
  }

  async #send(path: string, init: RequestInit): Promise<Response> {
    const headers = new Headers(init.headers);
    if (this.key) headers.set("Authorization", `Bearer ${this.key}`);
    let response: Response;
    try {
      response = await fetch(path, { ...init, headers });
    } catch (error) {
      if (init.signal?.aborted) throw error;
      throw new ApiError("The server cannot be reached.", "unreachable");
    }
    if (!response.ok) throw await refusal(response);
    return response;
  }
}

async function refusal(response: Response): Promise<ApiError> {
  try {
    return failure((await response.json()).error, response.status);
  } catch {
    return new ApiError(`The server answered ${response.status}.`, "unknown", null, response.status);
  }
}

function failure(detail: ErrorDetail, status: number): ApiError {
  return new ApiError(detail.message, detail.code, detail.param, status);
}

/** Yield the data of server-sent events. */
async function* events(response: Response): AsyncGenerator<string> {
  if (!response.body) return;
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
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
    reader.cancel().catch(() => {});
  }
}
