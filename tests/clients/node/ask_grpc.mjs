// Sends requests over gRPC, with a client made from the proto file, and writes the answers as JSON.
// Arguments: the proto file, the server's address and its key. Standard input: {name: {method, message, key, deadline}},
// where key (that of the server) and deadline (milliseconds; none) may be left out.

import { json } from "node:stream/consumers";
import grpc from "@grpc/grpc-js";
import protoLoader from "@grpc/proto-loader";

const [proto, address, ownKey] = process.argv.slice(2);
const style = { keepCase: true, longs: Number, enums: String, defaults: true };
const definition = protoLoader.loadSync(proto, style);
const { CompletionService } = grpc.loadPackageDefinition(definition).nucleus.v1;
const client = new CompletionService(address, grpc.credentials.createInsecure());

async function ask({ method, message, key = ownKey, deadline }) {
  const metadata = new grpc.Metadata();
  metadata.set("authorization", `Bearer ${key}`);
  const options = deadline === undefined ? {} : { deadline: Date.now() + deadline };
  try {
    if (method.startsWith("Stream")) return await collect(client[method](message, metadata, options));
    return await new Promise((resolve, reject) => {
      client[method](message, metadata, options, (error, answer) => (error ? reject(error) : resolve(answer)));
    });
  } catch (error) {
    if (error.code === undefined) throw error;
    const details = error.metadata.get("grpc-status-details-bin").map((raw) => raw.toString("base64"));
    return { status: grpc.status[error.code], message: error.details, details };
  }
}

async function collect(items) {
  const all = [];
  for await (const item of items) all.push(item);
  return all;
}

const answers = {};
for (const [name, request] of Object.entries(await json(process.stdin))) answers[name] = await ask(request);
client.close();
console.log(JSON.stringify(answers));
