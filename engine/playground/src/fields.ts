/** The fields of a request as the server describes them in `/openapi.json`: nothing is written twice. */

export type Kind = "integer" | "number" | "boolean" | "string" | "strings" | "integers" | "json";

export interface Field {
  name: string;
  kind: Kind;
  description: string;
  fallback: unknown;
  least?: number;
  most?: number;
  /** Whether the least itself is not allowed. */
  isAbove: boolean;
}

interface Schema {
  type?: string | string[];
  description?: string;
  default?: unknown;
  minimum?: number;
  exclusiveMinimum?: number;
  maximum?: number;
  items?: Schema;
  anyOf?: Schema[];
  $ref?: string;
  properties?: Record<string, Schema>;
}

export interface OpenApi {
  components: { schemas: Record<string, Schema> };
}

/** Fields that the page has a place of its own for, or that have a newer name. */
const ELSEWHERE =
  /^(model|prompt|messages|stream|stream_options|logprobs|echo|user|suffix|best_of|return_token_ids|resume_token_ids|guided_.*|repeat_penalty|grammar|json_schema|response_format|structured_outputs)$/;

export function samplingFields(api: OpenApi): Field[] {
  const request = api.components.schemas.CompletionRequest;
  return Object.entries(request?.properties ?? {})
    .filter(([name]) => !ELSEWHERE.test(name))
    .map(([name, schema]) => field(name, schema, api));
}

/** The most alternatives of each token that this server reports. */
export function mostLogprobs(api: OpenApi): number {
  const schema = api.components.schemas.CompletionRequest?.properties?.logprobs;
  return (schema && field("logprobs", schema, api).most) ?? 0;
}

function field(name: string, schema: Schema, api: OpenApi): Field {
  const shapes = shapesOf(schema, api);
  const limits = shapes.find((each) => each.type === "integer" || each.type === "number") ?? {};
  const least = limits.minimum ?? limits.exclusiveMinimum;
  return {
    name,
    kind: kindOf(shapes, api),
    description: schema.description ?? "",
    fallback: schema.default ?? null,
    isAbove: limits.exclusiveMinimum !== undefined,
    ...(least !== undefined && { least }),
    ...(limits.maximum !== undefined && { most: limits.maximum }),
  };
}

function shapesOf(schema: Schema, api: OpenApi): Schema[] {
  const named = schema.$ref && api.components.schemas[schema.$ref.split("/").at(-1) ?? ""];
  if (named) return shapesOf(named, api);
  if (schema.anyOf) return schema.anyOf.flatMap((each) => shapesOf(each, api));
  return Array.isArray(schema.type) ? schema.type.map((type) => ({ ...schema, type })) : [schema];
}

function kindOf(shapes: Schema[], api: OpenApi): Kind {
  const list = shapes.find((shape) => shape.type === "array");
  if (list) {
    const items = list.items ? shapesOf(list.items, api) : [];
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

/** Return the value that a text stands for; undefined where it is empty.
 *
 * @throws Error naming what is wrong.
 */
export function parse(field: Field, text: string): unknown {
  const given = text.trim();
  switch (field.kind) {
    case "integer":
    case "number":
      return given === "" ? undefined : number(field, given);
    case "integers":
      return given === "" ? undefined : given.split(/[\s,]+/).map((each) => number(field, each));
    case "strings":
      return text === "" ? undefined : text.split("\n").filter(Boolean).map(unescaped);
    case "json":
      return given === "" ? undefined : json(field, given);
    default:
      return text || undefined;
  }
}

function number(field: Field, text: string): number {
  const isWhole = field.kind !== "number";
  const isRight = isWhole ? /^[-+]?\d+$/.test(text) : text !== "" && Number.isFinite(Number(text));
  if (!isRight) throw new Error(`should be ${isWhole ? "an integer" : "a number"}, not ${text.slice(0, 40)}`);
  const value = Number(text);
  if (isWhole && !Number.isSafeInteger(value)) {
    throw new Error(`should be at most ${Number.MAX_SAFE_INTEGER} in a browser, not ${text}`);
  }
  const { least, most, isAbove } = field;
  if (least !== undefined && (value < least || (isAbove && value === least))) {
    throw new Error(`should be ${isAbove ? "above" : "at least"} ${least}, not ${text}`);
  }
  if (most !== undefined && value > most) throw new Error(`should be at most ${most}, not ${text}`);
  return value;
}

function json(field: Field, text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new Error(`${field.name} should be JSON`);
  }
}

/** A line of a text box as a string: a stop string may be a line break, written as `\n`. */
function unescaped(line: string): string {
  return line.replace(/\\([ntr\\])/g, (_, letter: string) => ({ n: "\n", t: "\t", r: "\r" })[letter] ?? "\\");
}
