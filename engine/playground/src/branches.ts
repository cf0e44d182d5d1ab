/** The tree of texts that grew from one prompt. */

import { type Token, textOf } from "./token";

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

  /** The text up to a place of a branch, from the prompt on. */
  textBefore(branch: Branch | null, at: number): string {
    return this.prompt + textOf(branch?.path.slice(0, at) ?? []);
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
