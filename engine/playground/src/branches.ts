/** The tree of texts that grew from one prompt. */

import { idsOf, type Token, textOf } from "./token";

/** Tokens of one request, behind the first tokens of another branch or behind the prompt alone. */
export class Branch {
  readonly tokens: Token[] = [];
  finishReason: string | null = null;

  constructor(
    readonly id: number,
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

  get depth(): number {
    return this.parent ? this.parent.depth + 1 : 0;
  }

  get hasForm(): boolean {
    return this.fields.structured_outputs !== undefined;
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
  prompt: string;
  branches: {
    id: number;
    parent: number | null;
    at: number;
    finish_reason: string | null;
    text: string;
    fields: Record<string, unknown>;
    tokens: Token[];
  }[];
}

export class Tree {
  readonly branches: Branch[] = [];

  constructor(readonly prompt: string) {}

  grow(parent: Branch | null, at: number, fields: Record<string, unknown>): Branch {
    const branch = new Branch(this.branches.length, parent, at, fields);
    this.branches.push(branch);
    return branch;
  }

  childrenOf(parent: Branch | null): Branch[] {
    return this.branches.filter((branch) => branch.parent === parent);
  }

  export(): Exported {
    return {
      prompt: this.prompt,
      branches: this.branches.map((branch) => ({
        id: branch.id,
        parent: branch.parent?.id ?? null,
        at: branch.at,
        finish_reason: branch.finishReason,
        text: this.prompt + textOf(branch.path),
        fields: branch.fields,
        tokens: branch.tokens,
      })),
    };
  }
}
