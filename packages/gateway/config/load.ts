// custody.yaml → Config. Everything wrong is reported at once, each with its place in the file, what
// was expected and, for a word that is nearly right, the right one. Nothing here starts or changes
// anything; secrets stay references.

import { readFileSync, statSync } from "node:fs";
import { resolve } from "node:path";

import {
  type Document,
  isMap,
  isNode,
  isScalar,
  LineCounter,
  type Node,
  parseDocument,
} from "yaml";
import type { z } from "zod";

import type { Config, ConfigProblem } from "./config.ts";
import type { Finding, YamlPath } from "./finding.ts";
import { resolveConfig } from "./resolve.ts";
import { configSchema } from "./schema.ts";
import { allowedKeys } from "./shape.ts";

/** A configuration is written by people; what is longer is not one. */
const MAX_FILE_BYTES = 4 * 1024 * 1024;
/** More do not help anybody. */
const MAX_PROBLEMS = 50;

export type LoadedConfig =
  | { readonly ok: true; readonly config: Config }
  | { readonly ok: false; readonly problems: readonly ConfigProblem[] };

/** Reads and checks `file`, the files it names included. */
export function loadConfig(file: string): LoadedConfig {
  const absolute = resolve(file);
  let text: string;
  try {
    if (statSync(absolute).size > MAX_FILE_BYTES)
      return refuse(absolute, "is longer than 4 MiB; that is no configuration");
    text = readFileSync(absolute, "utf8");
  } catch (error) {
    return refuse(absolute, cannotRead(error));
  }
  return parseConfig(absolute, text);
}

/** The same for a text; `file` is its name in messages and what relative paths start from. */
export function parseConfig(file: string, text: string): LoadedConfig {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false });
  const problem = (offset: number, path: YamlPath, message: string): ConfigProblem => {
    const { line, col } = lines.linePos(offset);
    return {
      file,
      line: Math.max(1, line),
      column: Math.max(1, col),
      path: showPath(path),
      message,
    };
  };
  // A tag or an alias this file cannot have is only a warning to the parser; here it is an error.
  const faults = [...document.errors, ...document.warnings];
  if (faults.length > 0) {
    const problems = faults.map((fault) => problem(fault.pos[0], [], oneLine(fault.message)));
    return { ok: false, problems: problems.slice(0, MAX_PROBLEMS) };
  }
  const place = (finding: Finding) =>
    problem(offsetOf(document, finding), finding.path, finding.message);
  const value = plainValue(document);
  if (!value.ok) return { ok: false, problems: [problem(0, [], value.message)] };
  const parsed = configSchema.safeParse(value.value, { reportInput: true });
  if (!parsed.success) {
    const findings = parsed.error.issues.flatMap((issue) => explain(issue, []));
    return { ok: false, problems: inOrder(withoutEchoes(findings).map(place)) };
  }
  const resolved = resolveConfig(file, parsed.data);
  if (resolved.findings.length > 0)
    return { ok: false, problems: inOrder(resolved.findings.map(place)) };
  return { ok: true, config: resolved.config };
}

type PlainValue =
  | { readonly ok: true; readonly value: unknown }
  | { readonly ok: false; readonly message: string };

function plainValue(document: Document): PlainValue {
  try {
    // An empty file has the value null; what is missing in it is better told key by key.
    return { ok: true, value: document.toJS() ?? {} };
  } catch {
    return { ok: false, message: "its aliases expand to too much; write the values out" };
  }
}

function explain(issue: z.core.$ZodIssue, base: YamlPath): Finding[] {
  const path = [
    ...base,
    ...issue.path.map((part) => (typeof part === "number" ? part : String(part))),
  ];
  switch (issue.code) {
    case "unrecognized_keys":
      return issue.keys.map((key) => unknownKey(path, key, allowedKeys(configSchema, path)));
    case "invalid_key":
      return [{ path, at: "key", message: issue.issues[0]?.message ?? "this name cannot be" }];
    case "invalid_union":
      return explainUnion(issue, path);
    case "invalid_type":
      if (issue.message.startsWith("Invalid input"))
        return [{ path, message: wrongType(issue.expected, issue.input) }];
      return [
        {
          path,
          message: issue.input === undefined ? `is missing: ${issue.message}` : issue.message,
        },
      ];
    case "invalid_value":
      if (issue.message.startsWith("Invalid"))
        return [{ path, message: wrongChoice(issue.values.map(String), issue.input) }];
      return [{ path, message: issue.message }];
    default:
      return [{ path, message: issue.message }];
  }
}

/** The branch the writer seems to have meant: the one whose own type fits. */
function explainUnion(issue: z.core.$ZodIssueInvalidUnion, path: YamlPath): Finding[] {
  const meant = issue.errors.find((errors) =>
    errors.every((error) => error.path.length > 0 || error.code === "unrecognized_keys"),
  );
  if (meant) return meant.flatMap((error) => explain(error, path));
  if (issue.input === undefined) return [{ path, message: "is missing" }];
  const message = issue.message === "Invalid input" ? "is none of what can be here" : issue.message;
  return [{ path, message }];
}

function unknownKey(path: YamlPath, key: string, allowed: readonly string[]): Finding {
  const near = nearest(key, allowed);
  if (near === undefined) {
    const known = allowed.length > 0 ? `; known here: ${allowed.join(", ")}` : "";
    return { path: [...path, key], at: "key", message: `unknown key "${key}"${known}` };
  }
  const message = `unknown key "${key}"; did you mean "${near}"?`;
  return { path: [...path, key], at: "key", message, meant: [...path, near] };
}

/** A misspelt key is one problem, not two: that the right one is missing follows. */
function withoutEchoes(findings: readonly Finding[]): readonly Finding[] {
  const meant = new Set(findings.map(({ meant }) => (meant ? showPath(meant) : undefined)));
  return findings.filter((finding) => finding.at === "key" || !meant.has(showPath(finding.path)));
}

function wrongType(expected: string, input: unknown): string {
  const wanted = TYPE_NAMES[expected] ?? expected;
  if (input === undefined) return `is missing: expected ${wanted}`;
  if (input === null) return `is empty: expected ${wanted}`;
  const quote = expected === "string" && typeof input !== "object" ? "; put it in quotes" : "";
  return `expected ${wanted}${quote}`;
}

const TYPE_NAMES: Readonly<Record<string, string>> = {
  string: "text",
  number: "a number",
  int: "a whole number",
  boolean: "true or false",
  array: "a list",
  object: "a group of keys",
  record: "a group of names",
};

function wrongChoice(choices: readonly string[], input: unknown): string {
  const wanted =
    choices.length === 1 ? `expected ${choices[0]}` : `expected one of ${choices.join(", ")}`;
  if (input === undefined) return `is missing: ${wanted}`;
  const near = typeof input === "string" ? nearest(input, choices) : undefined;
  return near === undefined ? wanted : `${wanted}; did you mean "${near}"?`;
}

/** Offset of the value, of its key, or of the nearest thing around it that is in the file. */
function offsetOf(document: Document, finding: Finding): number {
  const { path } = finding;
  if (finding.at === "key") {
    const parent = document.getIn(path.slice(0, -1), true);
    const key = String(path.at(-1));
    if (isMap(parent)) {
      const pair = parent.items.find(
        (item) => isScalar(item.key) && String(item.key.value) === key,
      );
      if (pair && isNode(pair.key)) return startOf(pair.key);
    }
  }
  for (let length = path.length; length > 0; length--) {
    const node = document.getIn(path.slice(0, length), true);
    if (!isNode(node)) continue;
    // A key that is missing is reported where its group is named, since the group may start anywhere.
    if (length < path.length) return keyOffset(document, path.slice(0, length)) ?? startOf(node);
    return startOf(node);
  }
  return 0;
}

function keyOffset(document: Document, path: YamlPath): number | undefined {
  const parent = document.getIn(path.slice(0, -1), true);
  if (!isMap(parent)) return undefined;
  const key = String(path.at(-1));
  const pair = parent.items.find((item) => isScalar(item.key) && String(item.key.value) === key);
  return pair && isNode(pair.key) ? startOf(pair.key) : undefined;
}

function startOf(node: Node): number {
  return node.range?.[0] ?? 0;
}

function showPath(path: YamlPath): string {
  let shown = "";
  for (const part of path) {
    if (typeof part === "number") shown += `[${part}]`;
    else shown += shown === "" ? part : `.${part}`;
  }
  return shown;
}

function inOrder(problems: readonly ConfigProblem[]): readonly ConfigProblem[] {
  return problems
    .toSorted((one, other) => one.line - other.line || one.column - other.column)
    .slice(0, MAX_PROBLEMS);
}

function refuse(file: string, message: string): LoadedConfig {
  return { ok: false, problems: [{ file, line: 1, column: 1, path: "", message }] };
}

function cannotRead(error: unknown): string {
  const code = (error as NodeJS.ErrnoException).code;
  if (code === "ENOENT") return "there is no such file; `custody init` writes a starter";
  if (code === "EACCES") return "may not be read by this user";
  if (code === "EISDIR") return "is a folder; name the file in it";
  return `cannot be read (${code ?? "unknown fault"})`;
}

function oneLine(message: string): string {
  return message.split("\n", 1)[0] ?? message;
}

/** The word within two edits (one for short words); undefined when none is near. */
function nearest(word: string, candidates: readonly string[]): string | undefined {
  let best: string | undefined;
  let bestDistance = word.length <= 4 ? 2 : 3;
  for (const candidate of candidates) {
    const distance = editDistance(word.toLowerCase(), candidate.toLowerCase());
    if (distance < bestDistance) {
      best = candidate;
      bestDistance = distance;
    }
  }
  return best;
}

/** Levenshtein's, with a swap of neighbours as one edit. */
function editDistance(one: string, other: string): number {
  if (one.length > 64 || other.length > 64) return Number.POSITIVE_INFINITY;
  let before: number[] = [];
  let row = Array.from({ length: other.length + 1 }, (_, index) => index);
  for (let i = 1; i <= one.length; i++) {
    const next = [i];
    for (let j = 1; j <= other.length; j++) {
      const same = one[i - 1] === other[j - 1] ? 0 : 1;
      let cost = Math.min((row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1, (row[j - 1] ?? 0) + same);
      const swapped = i > 1 && j > 1 && one[i - 1] === other[j - 2] && one[i - 2] === other[j - 1];
      if (swapped) cost = Math.min(cost, (before[j - 2] ?? 0) + 1);
      next.push(cost);
    }
    before = row;
    row = next;
  }
  return row[other.length] ?? Number.POSITIVE_INFINITY;
}
