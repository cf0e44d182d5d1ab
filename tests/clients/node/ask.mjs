// Sends requests through the official SDK, and writes what it made of the answers as JSON.
// Arguments: the server's URL and its key. Standard input: {name: {key, fields}}, where both may be left out; without
// fields, the models are listed. Fields with messages are a chat, and `parsed` asks the SDK to parse its answer.

import { json } from "node:stream/consumers";
import OpenAI from "openai";

const [baseURL, apiKey] = process.argv.slice(2);

async function ask({ key = apiKey, fields, parsed = false }) {
  const client = new OpenAI({ baseURL, apiKey: key, maxRetries: 0 });
  try {
    if (fields === undefined) return await collect(client.models.list());
    if (parsed) return await client.chat.completions.parse(fields);
    const answer = await (fields.messages ? client.chat : client).completions.create(fields);
    return fields.stream ? await collect(answer) : { ...answer, request_id: answer._request_id };
  } catch (error) {
    if (!(error instanceof OpenAI.APIError)) throw error;
    const { status, code, param, type, requestID } = error;
    return { raised: error.constructor.name, status, code, param, type, request_id: requestID };
  }
}

async function collect(items) {
  const all = [];
  for await (const item of items) all.push(item);
  return all;
}

const answers = {};
for (const [name, request] of Object.entries(await json(process.stdin))) answers[name] = await ask(request);
console.log(JSON.stringify(answers));
