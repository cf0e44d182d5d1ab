/** What was typed, kept for a reload of this tab of the browser. The key is no part of it. */

import { checked, type Shared } from "./share";

const NAME = "nucleus-playground";

export interface Stored {
  /** The fragment of the address that it was typed over. */
  hash: string;
  /** Null if the browser's own is shown. */
  theme: "light" | "dark" | null;
  state: Shared;
}

/** Keep it; a browser that forbids it, or is full, keeps nothing. */
export function store(stored: Stored): void {
  try {
    sessionStorage.setItem(NAME, JSON.stringify(stored));
  } catch {}
}

/** Return what was kept; undefined if nothing was. */
export function stored(): Stored | undefined {
  try {
    const { hash, theme, state } = JSON.parse(sessionStorage.getItem(NAME) ?? "");
    return {
      hash: String(hash),
      theme: theme === "light" || theme === "dark" ? theme : null,
      state: checked(state),
    };
  } catch {
    return undefined;
  }
}
