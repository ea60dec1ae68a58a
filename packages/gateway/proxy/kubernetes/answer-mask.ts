// Masks in an answer of an API server: the data of Secrets wherever one is, the fields an operator
// classified, environment variables with a value of their own, and the annotations that repeat them. One
// object at a time; bytes that hold nothing of it stay as they are.

import { isUtf8 } from "node:buffer";
import { JsonScanner } from "@custody/wire/kubernetes/json-scan.ts";
import { type MaskName, textMask } from "../../masking/masks.ts";
import type { FieldClassification } from "../../target/kubernetes-target.ts";
import { ENVIRONMENT_CLASS, SECRET_CLASS } from "../../target/kubernetes-target.ts";
import { isKeptNumber, isObject, type Json, parseJson } from "./json-text.ts";
import { namesValues } from "./managed-fields.ts";

export interface AnswerMaskPlan {
  /** The request is about Secrets: whatever comes is one. */
  readonly isSecrets: boolean;
  readonly fields: readonly FieldClassification[];
  /** Classes whose values are shown. */
  readonly shown: ReadonlySet<string>;
  readonly maskOf: (className: string) => MaskName;
}

export interface AnswerMask {
  /**
   * One object, event or row; the same buffer when nothing changed. Throws for what is no JSON. `isJson`: that
   * it is was seen already (wire/kubernetes/json-scan.ts), and it is not parsed where there is no need to.
   */
  apply(bytes: Buffer, isJson?: boolean): Buffer;
  /** Whether nothing is to be masked in these, seen without parsing them. Throws for what is not UTF-8. */
  isPlain(bytes: Buffer): boolean;
  /** Classes of what was masked so far. */
  readonly masked: ReadonlySet<string>;
}

type Members = Record<string, Json>;

/** Annotations of a Secret that others than its owner write; any other may repeat what it holds. */
const PLAIN_ANNOTATION = /^([a-z0-9.-]+\.)?(kubernetes\.io|k8s\.io|helm\.sh|cert-manager\.io)\//;
/** What an object that holds one of these has in it, in the letters Go and everybody else writes. */
const SIGNS = ['"Secret', '"env"', '"env\\', "last-applied", '"H4sI'].map((text) =>
  Buffer.from(text),
);
/** gzip in base64: an object may be in it. */
const PACKED = /^H4sI/;
/** `NAME=value`, as some write a variable. */
const ASSIGNED = /^([^=\s]*=)(.+)$/s;
const ESCAPE = Buffer.from("\\u00");
const ESCAPED_LETTER = /\\u00[4-7]/;

export function createAnswerMask(plan: AnswerMaskPlan): AnswerMask {
  const masked = new Set<string>();
  const walker = new Walker(plan, masked);
  const isPlain = (bytes: Buffer): boolean => {
    // What is handed on is JSON in UTF-8 even where nothing is masked in it: a reader that makes something
    // of anything else would see what was not looked at.
    if (!isUtf8(bytes)) throw new SyntaxError("it is not UTF-8");
    return !plan.isSecrets && plan.fields.length === 0 && !mayHold(bytes);
  };
  return {
    masked,
    isPlain,
    apply(bytes, isJson = false) {
      if (isPlain(bytes)) {
        if (!isJson) assertJson(bytes);
        return bytes;
      }
      const value = parseJson(bytes.toString("utf8"));
      return walker.document(value) ? Buffer.from(JSON.stringify(value)) : bytes;
    },
  };
}

/** Seen and not made: of what nothing is masked in nobody needs the values. */
function assertJson(bytes: Buffer): void {
  let begin = 0;
  while (isSpace(bytes[begin])) begin++;
  // A text, a number or a word by itself.
  if (bytes[begin] !== 0x7b && bytes[begin] !== 0x5b) {
    JSON.parse(bytes.toString("utf8"));
    return;
  }
  const scanner = new JsonScanner();
  let end = scanner.read(bytes, begin);
  while (isSpace(bytes[end])) end++;
  if (scanner.isWithin || end < bytes.length) throw new SyntaxError("it is not one document");
}

function isSpace(byte: number | undefined): boolean {
  return byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09;
}

function mayHold(bytes: Buffer): boolean {
  if (SIGNS.some((sign) => bytes.includes(sign))) return true;
  return bytes.includes(ESCAPE) && ESCAPED_LETTER.test(bytes.toString("latin1"));
}

class Walker {
  readonly #plan: AnswerMaskPlan;
  readonly #masked: Set<string>;

  constructor(plan: AnswerMaskPlan, masked: Set<string>) {
    this.#plan = plan;
    this.#masked = masked;
  }

  /** True when something was masked in place. */
  document(value: Json): boolean {
    let changed = this.#walk(value, this.#plan.isSecrets);
    if (this.#plan.fields.length === 0) return changed;
    // An object by itself, in an event or in a row of a table.
    for (const object of [value, isObject(value) ? value.object : undefined])
      if (isObject(object)) changed = this.#fields(object as Members) || changed;
    return changed;
  }

  #walk(value: Json, isSecret: boolean): boolean {
    let changed = false;
    if (Array.isArray(value)) {
      for (const one of value as readonly Json[]) changed = this.#walk(one, isSecret) || changed;
      return changed;
    }
    if (!isObject(value)) return false;
    const object = value as Members;
    const holds = isSecret || object.kind === "Secret" || object.kind === "SecretList";
    if (holds) changed = this.#secret(object);
    // Before what they repeat is masked.
    if (Array.isArray(object.cells)) changed = this.#cells(object) || changed;
    for (const [name, one] of Object.entries(object)) {
      if (name === "env" && Array.isArray(one)) changed = this.#environment(one) || changed;
      else if (name === "env" && isEnvironmentMap(one))
        changed = this.#environmentMap(one as Members) || changed;
      else if (name === "annotations" && isObject(one))
        changed = this.#annotations(one as Members, holds) || changed;
      else if (name === "managedFields") changed = this.#managed(object, holds) || changed;
      // What was masked just now has nothing left in it.
      else if (!(holds && (name === "data" || name === "stringData")))
        changed = this.#walk(one, holds && !OWN_KIND.has(name)) || changed;
    }
    return changed;
  }

  #secret(object: Members): boolean {
    if (this.#plan.shown.has(SECRET_CLASS)) return false;
    let changed = false;
    for (const name of ["data", "stringData"]) {
      const held = object[name];
      if (held === undefined || held === null) continue;
      changed = true;
      if (!isObject(held)) object[name] = {};
      else
        for (const key of Object.keys(held))
          (held as Members)[key] = this.#maskedData(held[key] ?? "", name === "data");
    }
    return changed;
  }

  /** Base64 stays base64, so that clients that decode it go on working. */
  #maskedData(value: Json, isBase64: boolean): string {
    this.#masked.add(SECRET_CLASS);
    const mask = textMask(this.#plan.maskOf(SECRET_CLASS), SECRET_CLASS);
    const plain = Buffer.from(String(value), isBase64 ? "base64" : "utf8");
    const shown = mask(plain) ?? Buffer.alloc(0);
    return shown.toString(isBase64 ? "base64" : "utf8");
  }

  #environment(variables: readonly Json[]): boolean {
    if (this.#plan.shown.has(ENVIRONMENT_CLASS)) return false;
    let changed = false;
    for (const [index, variable] of variables.entries()) {
      if (typeof variable === "string") {
        const [, name, value] = ASSIGNED.exec(variable) ?? [];
        if (name === undefined || value === undefined) continue;
        (variables as Json[])[index] = name + this.#maskedText(value, ENVIRONMENT_CLASS);
        changed = true;
      }
      if (!isObject(variable)) continue;
      const { value } = variable;
      if (value === undefined || value === null || value === "") continue;
      (variable as Members).value = this.#maskedText(value, ENVIRONMENT_CLASS);
      changed = true;
    }
    return changed;
  }

  /** Custom resources have it as members, nested by some: every value but a reference is one. */
  #environmentMap(variables: Members): boolean {
    if (this.#plan.shown.has(ENVIRONMENT_CLASS)) return false;
    let changed = false;
    for (const [name, value] of Object.entries(variables)) {
      if (value === null || value === "" || name === "valueFrom") continue;
      if (Array.isArray(value)) changed = this.#environment(value) || changed;
      else if (isObject(value) && !isKeptNumber(value))
        changed = this.#environmentMap(value as Members) || changed;
      else {
        variables[name] = this.#maskedText(value, ENVIRONMENT_CLASS);
        changed = true;
      }
    }
    return changed;
  }

  /** Columns of a custom resource's table may show anything of the object in its row. */
  #cells(row: Members): boolean {
    if (this.#plan.shown.has(ENVIRONMENT_CLASS)) return false;
    const values = environmentValues(row.object ?? null);
    if (values.size === 0) return false;
    let changed = false;
    row.cells = (row.cells as readonly Json[]).map((cell) => {
      if (!repeats(cell, values)) return cell;
      changed = true;
      return this.#maskedText(cell, ENVIRONMENT_CLASS);
    });
    return changed;
  }

  #annotations(annotations: Members, isSecret: boolean): boolean {
    let changed = false;
    for (const [name, value] of Object.entries(annotations)) {
      const isApplied = /last-applied/.test(name) || PACKED.test(String(value));
      // Other tools than kubectl keep what they applied too, under names of their own.
      const mayBeApplied = !isSecret && /^\s*[[{]/.test(String(value));
      if (typeof value === "string" && (isApplied || mayBeApplied)) {
        const masked = this.#applied(value, isSecret, isApplied);
        changed = masked !== value || changed;
        annotations[name] = masked;
      } else if (isSecret && !PLAIN_ANNOTATION.test(name) && !this.#plan.shown.has(SECRET_CLASS)) {
        annotations[name] = this.#maskedText(value, SECRET_CLASS);
        changed = true;
      }
    }
    return changed;
  }

  /** The annotation's text with what is classified in it masked; redacted when it should be JSON and is none. */
  #applied(text: string, isSecret: boolean, isApplied: boolean): string {
    try {
      const value = parseJson(text);
      if (isSecret && !isObject(value)) throw new SyntaxError("no object was applied");
      let changed = this.#walk(value, isSecret);
      changed = this.#fieldsWithin(value) || changed;
      return changed ? JSON.stringify(value) : text;
    } catch {
      if (!isApplied) return text;
      const name = isSecret ? SECRET_CLASS : ENVIRONMENT_CLASS;
      return this.#plan.shown.has(name) ? text : this.#maskedText(text, name);
    }
  }

  /** They name values that are members of a set, or by which a list is in order (managed-fields.ts). */
  #managed(metadata: Members, isSecret: boolean): boolean {
    const { fields, shown } = this.#plan;
    const hidden = fields.filter((field) => !shown.has(field.class)).map(({ field }) => field);
    const hides = { secret: isSecret && !shown.has(SECRET_CLASS), fields: hidden };
    const named = { ...hides, environment: !shown.has(ENVIRONMENT_CLASS) };
    if (!namesValues(metadata.managedFields ?? null, named)) return false;
    delete metadata.managedFields;
    return true;
  }

  /** Of every object in it: what a tool writes down may be a list, or hold the object somewhere within. */
  #fieldsWithin(value: Json): boolean {
    if (this.#plan.fields.length === 0 || typeof value !== "object" || value === null) return false;
    let changed = isObject(value) && this.#fields(value as Members);
    for (const one of Object.values(value)) changed = this.#fieldsWithin(one) || changed;
    return changed;
  }

  #fields(object: Members): boolean {
    let changed = false;
    for (const { class: name, field } of this.#plan.fields)
      if (!this.#plan.shown.has(name)) changed = this.#field(object, field, name) || changed;
    return changed;
  }

  #field(value: Json, path: readonly string[], className: string): boolean {
    const [step, ...rest] = path;
    if (step === undefined || typeof value !== "object" || value === null) return false;
    const holder = value as Members;
    const names = step === "*" ? Object.keys(holder) : Object.hasOwn(holder, step) ? [step] : [];
    let changed = false;
    for (const name of names) {
      const one = holder[name];
      if (one === undefined || one === null) continue;
      if (rest.length > 0) changed = this.#field(one, rest, className) || changed;
      else {
        holder[name] = this.#maskedText(one, className);
        changed = true;
      }
    }
    return changed;
  }

  #maskedText(value: Json, className: string): string {
    this.#masked.add(className);
    const plain = Buffer.from(typeof value === "string" ? value : JSON.stringify(value));
    return textMask(this.#plan.maskOf(className), className)(plain)?.toString("utf8") ?? "";
  }
}

/** What a schema (of a custom resource's definition) says of a member called so. */
const SCHEMA_WORDS = new Set([
  ...["type", "description", "items", "properties", "additionalProperties", "required", "default"],
  ...["enum", "format", "nullable", "maxItems", "minItems", "maxProperties", "minProperties"],
  ...["oneOf", "anyOf", "allOf", "not", "title", "example", "pattern", "maxLength", "minLength"],
]);

function isEnvironmentMap(value: Json): boolean {
  if (!isObject(value)) return false;
  const isSchema = Object.keys(value).every(
    (name) => SCHEMA_WORDS.has(name) || name.startsWith("x-kubernetes-"),
  );
  return !(isSchema && /^(array|object|string|integer|number|boolean)$/.test(String(value.type)));
}

/** Shorter ones are looked for as a whole cell only: within one they would be found by chance. */
const MIN_WITHIN = 4;
/** At characters of a cell, for all that it may repeat. */
const MAX_LOOKS = 1 << 22;

function repeats(cell: Json, values: ReadonlySet<string>): boolean {
  if (cell === null || cell === "") return false;
  const text = typeof cell === "string" ? cell : JSON.stringify(cell);
  if (values.has(text)) return true;
  // What would take too long to be looked through is taken to repeat one.
  if (values.size * text.length > MAX_LOOKS) return true;
  return [...values].some((value) => value.length >= MIN_WITHIN && text.includes(value));
}

/** Values of environments, wherever they are in an object. */
function environmentValues(value: Json): ReadonlySet<string> {
  const found = new Set<string>();
  const walk = (one: Json, isWithin: boolean): void => {
    if (one === null || one === "") return;
    if (Array.isArray(one)) for (const inner of one as readonly Json[]) walk(inner, isWithin);
    else if (isObject(one))
      for (const [name, inner] of Object.entries(one))
        walk(inner, (isWithin && name !== "valueFrom" && name !== "name") || name === "env");
    else if (isWithin) {
      const [, , assigned] = ASSIGNED.exec(String(one)) ?? [];
      found.add(assigned ?? String(one));
    }
  };
  walk(value, false);
  return found;
}

/** Members of a Secret or an event around one that hold other things than Secrets. */
const OWN_KIND = new Set(["columnDefinitions"]);
