/** The panel of sampling fields: an input for each, with its meaning, its range and its default. */

import type { Fields } from "./api";
import { make, withCode } from "./dom";
import { type Field, parse } from "./fields";

type Input = HTMLInputElement | HTMLTextAreaElement;

interface Row {
  field: Field;
  input: Input;
  problem: HTMLElement;
  /** Why it cannot be set now. */
  note: HTMLElement;
}

/** Fields that most people look for; the others come behind "More". */
const FIRST = ["max_tokens", "temperature", "top_p", "n", "seed", "stop"];

export class FieldForm {
  readonly #rows: Row[];
  readonly #others: Row[];
  readonly #summary = make("summary");

  constructor(panel: HTMLElement, fields: Field[]) {
    const first = FIRST.flatMap((name) => fields.filter((field) => field.name === name));
    const others = fields.filter((field) => !first.includes(field));
    const more = make("details", {}, this.#summary);
    this.#rows = [...first, ...others].map((field) => {
      const row = rowOf(field);
      const place = first.includes(field) ? panel : more;
      place.append(shown(row));
      row.input.addEventListener("input", () => {
        tell(row, "");
        this.#count();
      });
      row.input.addEventListener("blur", () => afterPress(() => this.#leave(row)));
      return row;
    });
    this.#others = this.#rows.filter(({ field }) => others.includes(field));
    this.#count();
    panel.append(more);
  }

  /** Say what is wrong; what the server said of the field stays until it is changed. */
  #leave(row: Row): void {
    const problem = problemOf(row);
    if (problem) tell(row, problem);
  }

  /** Tell how many of the fields that may be folded away are set. */
  #count(): void {
    const set = this.#others.filter(({ input }) => textOf(input)).length;
    this.#summary.textContent = `${this.#others.length} more${set ? `, ${set} set` : ""}`;
  }

  /** Return the fields that are not left at their defaults; undefined if one of them is wrong.
   *
   * @param isQuiet Whether nothing is said then, and the keyboard's focus stays.
   */
  values(isQuiet = false): Fields | undefined {
    const values: Fields = {};
    let wrong: Row | undefined;
    for (const row of this.#rows) {
      const problem = problemOf(row);
      if (!isQuiet) tell(row, problem);
      if (problem) wrong ??= row;
      else if (given(row) !== undefined) values[row.field.name] = given(row);
    }
    if (wrong && !isQuiet) {
      unfold(wrong);
      wrong.input.focus();
    }
    return wrong ? undefined : values;
  }

  /** What a field is where nothing is typed. */
  fallback(name: string): unknown {
    return this.#rows.find(({ field }) => field.name === name)?.field.fallback;
  }

  /** What was typed, by field. */
  typed(): Record<string, string> {
    return Object.fromEntries(
      this.#rows.flatMap(({ field, input }) => {
        const text = textOf(input);
        return text ? [[field.name, text]] : [];
      }),
    );
  }

  /** Type into the fields, and empty the others. */
  type(typed: Record<string, string>): void {
    for (const { field, input } of this.#rows) {
      const text = typed[field.name] ?? "";
      if (isBox(input)) input.checked = text === "true";
      else input.value = text;
    }
    this.#count();
  }

  /** Let a field take no value, and say why; an empty reason lets it take one again. */
  disable(name: string, reason: string): void {
    const row = this.#rows.find((each) => each.field.name === name);
    if (!row) return;
    row.input.disabled = reason !== "";
    row.note.textContent = reason;
    tell(row, "");
  }

  /** Show what the server said of a field; return False if it is none of these. */
  complain(name: string, problem: string): boolean {
    const row = this.#rows.find((each) => each.field.name === name);
    if (row) {
      unfold(row);
      tell(row, problem);
    }
    return row !== undefined;
  }
}

function isBox(input: Input): input is HTMLInputElement {
  return input.type === "checkbox";
}

function textOf(input: Input): string {
  return isBox(input) ? (input.checked ? "true" : "") : input.value;
}

/** Open the section that a field may be folded away in: only what is seen can be focused. */
function unfold({ input }: Row): void {
  const section = input.closest("details");
  if (section) section.open = true;
}

function given({ field, input }: Row): unknown {
  if (input.disabled) return undefined;
  if (isBox(input)) return input.checked || undefined;
  return parse(field, input.value);
}

/** Return what is wrong with a field; nothing if it is right. */
function problemOf(row: Row): string {
  try {
    given(row);
    return "";
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

/** Do something now, or after the click that began: what moves while a button is pressed is not clicked. */
function afterPress(action: () => void): void {
  if (!document.documentElement.matches(":active")) action();
  else addEventListener("pointerup", () => setTimeout(action), { once: true });
}

function rowOf(field: Field): Row {
  const id = `field-${field.name}`;
  const described = { id, "aria-describedby": `${id}-note ${id}-help ${id}-problem` };
  const input =
    field.kind === "boolean"
      ? make("input", { ...described, type: "checkbox" })
      : field.kind === "strings"
        ? make("textarea", { ...described, rows: "3", placeholder: "one a line; \\n is a line break" })
        : make("input", {
            ...described,
            type: "text",
            inputmode: field.kind === "number" || field.kind === "integer" ? "decimal" : "text",
            placeholder: placeholder(field),
            autocomplete: "off",
            spellcheck: "false",
          });
  const problem = make("p", { id: `${id}-problem`, class: "problem", "aria-live": "polite" });
  const note = make("p", { id: `${id}-note`, class: "note" });
  return { field, input, problem, note };
}

function shown({ field, input, problem, note }: Row): HTMLElement {
  const help = make("p", { id: `field-${field.name}-help`, class: "help" }, ...withCode(describe(field)));
  const label = make("label", { for: input.id }, field.name);
  return make("div", { class: "field" }, label, input, note, help, problem);
}

function describe(field: Field): string {
  const { least, most, isAbove } = field;
  const huge = 2 ** 31;
  const low = least === undefined || least <= -huge ? "" : `${isAbove ? "above" : "from"} ${least}`;
  const high = most === undefined || most >= huge ? "" : `to ${most}`;
  const range = [low, high].filter(Boolean).join(" ");
  return range ? `${field.description} (${range})` : field.description;
}

function placeholder(field: Field): string {
  if (field.kind === "json") return field.name === "logit_bias" ? '{"7": -100}' : "";
  if (field.kind === "integers") return "none";
  return field.fallback === null ? "none" : String(field.fallback);
}

function tell({ input, problem }: Row, text: string): void {
  problem.textContent = text;
  input.setAttribute("aria-invalid", String(text !== ""));
}
