/** Tokens of a text with what the model thought of them. */

import type { Choice } from "./api";

export interface Alternative {
  text: string;
  logprob: number;
  /** Null where ids were not asked for. */
  id: number | null;
}

export interface Token {
  /** What it adds to the text; empty where it ends within a character. */
  text: string;
  /** Its own spelling, which may be `bytes:…`. */
  name: string;
  /** Natural logarithm of its probability; null for the first of a prompt. */
  logprob: number | null;
  id: number | null;
  /** Whether the form of the answer left no choice about its text. */
  isForced: boolean;
  /** The most probable ones in its place, best first. */
  top: Alternative[];
}

/** Reads the tokens of one choice as it comes, piece by piece. */
export class TokenReader {
  /** Characters (code points) from the start of the prompt; null before the first piece. */
  #end: number | null = null;

  read(choice: Choice): Token[] {
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
        top: ranked(logprobs.top_logprobs?.[i] ?? {}, logprobs.top_token_ids?.[i] ?? {}),
      };
    });
  }
}

function ranked(top: Record<string, number>, ids: Record<string, number>): Alternative[] {
  return Object.entries(top)
    .map(([text, logprob]) => ({ text, logprob, id: ids[text] ?? null }))
    .sort((a, b) => b.logprob - a.logprob);
}

/** Return true if an answer can go on with an alternative.
 *
 * What half a character adds to the text is not known, and a form lets nothing else follow where it forces a text.
 * @param tokens Those of the answer, from the one on that the alternative is to take the place of.
 */
export function canBeChosen({ id, text }: Alternative, tokens: readonly Token[]): boolean {
  const free = tokens.findIndex((token) => !token.isForced);
  const forced = textOf(free < 0 ? tokens : tokens.slice(0, free));
  return id !== null && !text.startsWith("bytes:") && (forced.startsWith(text) || text.startsWith(forced));
}

/** Return the token that a person chose in the place of another one. */
export function chosenFor(token: Token, { text, logprob, id }: Alternative): Token {
  return { text, name: text, logprob, id, isForced: false, top: token.top };
}

/** Return the ids of tokens; undefined if one is not known. */
export function idsOf(tokens: readonly Token[]): number[] | undefined {
  const ids = tokens.flatMap(({ id }) => (id === null ? [] : [id]));
  return ids.length === tokens.length ? ids : undefined;
}

/** Say what a token is, in words. */
export function describe(token: Token): string {
  const probability = token.logprob === null ? "no score: nothing is before it" : percent(token.logprob);
  return token.isForced ? `${probability}, forced by the form` : probability;
}

export function textOf(tokens: readonly Token[]): string {
  return tokens.map((token) => token.text).join("");
}

/** The perplexity of tokens; the first of a prompt does not count, nor what a form forced. */
export function perplexity(tokens: readonly Token[]): { value: number; count: number; mean: number } {
  const known = tokens.flatMap(({ logprob, isForced }) => (logprob === null || isForced ? [] : [logprob]));
  const mean = known.reduce((sum, logprob) => sum + logprob, 0) / Math.max(known.length, 1);
  return { value: Math.exp(-mean), count: known.length, mean };
}

const LEAST = [0.9, 0.5, 0.2, 0.05, 0];

/** The class of a token by how surprising it was: 0 for a probability of 90 % or more, up to 4 for one below 5 %. */
export function shade({ logprob, isForced }: Token): string {
  if (isForced) return "forced";
  if (logprob === null) return "unscored";
  const probability = Math.exp(logprob);
  return `shade${LEAST.findIndex((least) => probability >= least)}`;
}

/** A number of some digits, without an exponent. */
export function figure(value: number, digits: number): string {
  if (value > 1e9) return "over 1,000,000,000";
  return value >= 10 ** digits ? value.toFixed(0) : value.toPrecision(digits);
}

export function percent(logprob: number): string {
  const probability = 100 * Math.exp(logprob);
  if (probability < 0.001) return "< 0.001 %";
  return `${probability >= 9.95 ? probability.toFixed(0) : probability.toPrecision(2)} %`;
}

/** A token's text as a person can see it: spaces and line breaks have marks. */
export function visible(text: string): string {
  return text.replaceAll("\n", "↵").replaceAll("\t", "⇥").replaceAll(" ", "·") || "∅";
}

export function counted({ length }: readonly Token[]): string {
  return `${length} ${length === 1 ? "token" : "tokens"}`;
}

/** Say how fast tokens came. */
export function speed(generated: number, seconds: number): string {
  return `${generated} generated in ${seconds.toFixed(1)} s, ${(generated / seconds).toFixed(1)} tokens/s`;
}

/** Say how many tokens there are, and how surprising those were that a form left free. */
export function measured(tokens: readonly Token[]): string {
  const { value, count } = perplexity(tokens);
  const forced = tokens.filter((token) => token.isForced).length;
  const total = counted(tokens);
  if (!count) return forced ? `${total}, all forced by the form` : total;
  const over = forced ? ` over the ${count} that were free` : "";
  return `${total}, perplexity ${figure(value, 3)}${over}`;
}
