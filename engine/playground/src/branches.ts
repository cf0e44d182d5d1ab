/** The trees of texts that grew from the prompts of this page. */

import { idsOf, type Token, textOf } from "./token";

/** Tokens of one request, behind the first tokens of another branch or behind the prompt alone. */
export class Branch {
  readonly tokens: Token[] = [];
  finishReason: string | null = null;
  /** What ended it before the server did. */
  interruption: "stopped by you" | "broken off" | null = null;

  constructor(
    readonly id: number,
    readonly prompt: string,
    readonly parent: Branch | null,
    /** How many tokens of the parent's path come before. */
    readonly at: number,
    /** The fields it was asked for with. */
    readonly fields: Record<string, unknown>,
  ) {}

  /** All tokens from the prompt on. */
  get path(): Token[] {
    return [...(this.parent?.path.slice(0, this.at) ?? []), ...this.tokens];
  }

  get hasForm(): boolean {
    return this.fields.structured_outputs !== undefined;
  }

  /** How it ended, in words; empty while it grows. */
  get ending(): string {
    if (this.interruption) return this.interruption;
    if (this.finishReason === "length") return "cut at max_tokens";
    return this.finishReason === "stop" ? "stopped at an end" : (this.finishReason ?? "");
  }

  /** How many tokens it can be continued behind: all but an end token, and what a stop string cut off. */
  get kept(): number {
    const last = this.path.at(-1);
    return this.path.length - Number(this.finishReason === "stop" && last?.text !== last?.name);
  }

  /** Whether anything can follow; a form that is complete ends the answer. */
  get canGoOn(): boolean {
    return !(this.hasForm && this.finishReason === "stop") && idsOf(this.path) !== undefined;
  }
}

export interface Exported {
  branches: {
    id: number;
    prompt: string;
    parent: number | null;
    at: number;
    finish_reason: string | null;
    text: string;
    fields: Record<string, unknown>;
    tokens: Token[];
  }[];
}

/** All branches, in the order in which they were asked for: each prompt has a tree of its own. */
export class Forest {
  readonly branches: Branch[] = [];

  grow(prompt: string, parent: Branch | null, at: number, fields: Record<string, unknown>): Branch {
    const branch = new Branch(this.branches.length, prompt, parent, at, fields);
    this.branches.push(branch);
    return branch;
  }

  get prompts(): string[] {
    return [...new Set(this.branches.map(({ prompt }) => prompt))];
  }

  rootsOf(prompt: string): Branch[] {
    return this.of(prompt).filter((branch) => branch.parent === null);
  }

  childrenOf(parent: Branch): Branch[] {
    return this.branches.filter((branch) => branch.parent === parent);
  }

  of(prompt: string): Branch[] {
    return this.branches.filter((branch) => branch.prompt === prompt);
  }

  export(): Exported {
    return {
      branches: this.branches.map((branch) => ({
        id: branch.id,
        prompt: branch.prompt,
        parent: branch.parent?.id ?? null,
        at: branch.at,
        finish_reason: branch.finishReason,
        text: branch.prompt + textOf(branch.path),
        fields: branch.fields,
        tokens: branch.tokens,
      })),
    };
  }
}
