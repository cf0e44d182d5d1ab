/** Short names for making elements and finding those of the page. */

type Content = Node | string;
type Attributes = Record<string, string | boolean | ((event: Event) => void)>;

/** Make an element. A boolean attribute is there or not; a function listens to the event of its name. */
export function make<Name extends keyof HTMLElementTagNameMap>(
  name: Name,
  attributes: Attributes = {},
  ...content: Content[]
): HTMLElementTagNameMap[Name] {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(key, value);
    else if (typeof value === "boolean") element.toggleAttribute(key, value);
    else element.setAttribute(key, value);
  }
  element.append(...content);
  return element;
}

/** Return a text with what stands between backticks as code. */
export function withCode(text: string): Content[] {
  return text.split("`").map((part, i) => (i % 2 ? make("code", {}, part) : part));
}

/** Find an element that `index.html` has. */
export function find<T extends HTMLElement>(selector: string, kind: new () => T): T {
  const element = document.querySelector(selector);
  if (!(element instanceof kind)) throw new Error(`the page has no ${selector}`);
  return element;
}

/** Say something to people who use a screen reader. */
export function announce(text: string): void {
  const place = find("#announcements", HTMLElement);
  place.textContent = text;
  place.classList.add("unseen");
}

const SHOWN_MS = 6000;
let hiding = 0;

/** Say something to everybody, for some seconds. */
export function notify(text: string): void {
  announce(text);
  const { classList } = find("#announcements", HTMLElement);
  classList.remove("unseen");
  clearTimeout(hiding);
  hiding = window.setTimeout(() => classList.add("unseen"), SHOWN_MS);
}

/** Put a text into the clipboard; return False if the browser does not let the page, as without HTTPS. */
export async function copyText(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false;
  }
}

export function download(name: string, type: string, text: string): void {
  const address = URL.createObjectURL(new Blob([text], { type }));
  make("a", { href: address, download: name }).click();
  URL.revokeObjectURL(address);
}
