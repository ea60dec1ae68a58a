// From a folder of .cedar files to a PolicySet, or to everything that is wrong with it. One policy
// that does not fit refuses the set: Cedar by itself would skip what errs and load what never matches,
// and a forbid that is silently not there is an open door (I2).
//
// A policy takes a millisecond and more to be read and validated, so that many are read in a thread
// (load-thread.ts): a reload keeps no session waiting.

import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { Worker } from "node:worker_threads";
import {
  type DetailedError,
  type PolicyJson,
  policyToJson,
  type ValidationError,
  validate,
} from "@cedar-policy/cedar-wasm/nodejs";
import { type PolicyForm, readAnnotations } from "./annotations.ts";
import { readConditions } from "./conditions.ts";
import { createPolicySet, type Policy, type PolicySet, readHead } from "./policy-set.ts";
import { SCHEMA_TEXT } from "./schema.ts";
import { offsetOfByte, type PolicySource, placeAt, splitPolicies } from "./source.ts";

export interface PolicyFile {
  /** As messages name it. */
  readonly name: string;
  readonly text: string;
}

export interface PolicyProblem {
  readonly file: string;
  readonly line: number;
  readonly column: number;
  /** What is wrong and what was expected. */
  readonly message: string;
}

export type PolicyLoad =
  | { readonly ok: true; readonly policies: PolicySet }
  | { readonly ok: false; readonly problems: readonly PolicyProblem[] };

/** What was read, before it is indexed: plain data, which crosses threads. */
export type PolicyReading =
  | { readonly ok: true; readonly policies: readonly Policy[] }
  | { readonly ok: false; readonly problems: readonly PolicyProblem[] };

/** Shorter texts take less than starting a thread does. */
const SHORT_LENGTH = 16 * 1024;
const MAX_FILES = 1000;
const MAX_FILE_BYTES = 1024 * 1024;
const MAX_POLICIES = 20_000;
const MAX_PROBLEMS = 100;

/** Reads every `*.cedar` file of the folder. Never throws; what cannot be read is a problem. */
export async function loadPolicies(folder: string): Promise<PolicyLoad> {
  const files: PolicyFile[] = [];
  const problems: PolicyProblem[] = [];
  try {
    const entries = await readdir(folder, { withFileTypes: true });
    for (const entry of entries.sort((one, other) => (one.name < other.name ? -1 : 1))) {
      const path = join(folder, entry.name);
      if (entry.isDirectory() && !entry.name.startsWith(".")) {
        problems.push(problem(path, "policies are read from one folder, not from folders in it"));
      }
      if (!entry.name.endsWith(".cedar")) continue;
      if ((await stat(path)).size > MAX_FILE_BYTES) {
        problems.push(problem(path, `larger than ${MAX_FILE_BYTES} bytes`));
      } else {
        files.push({ name: path, text: await readFile(path, "utf8") });
      }
    }
  } catch (thrown) {
    problems.push(problem(folder, thrown instanceof Error ? thrown.message : "cannot be read"));
  }
  if (problems.length === 0 && files.length === 0) {
    problems.push(problem(folder, "expected at least one .cedar file; without any all is denied"));
  }
  if (files.length > MAX_FILES) problems.push(problem(folder, `more than ${MAX_FILES} files`));
  if (problems.length > 0) return { ok: false, problems };
  const length = files.reduce((sum, { text }) => sum + text.length, 0);
  return length <= SHORT_LENGTH ? parsePolicies(files) : indexed(await readElsewhere(files));
}

/** Never throws. Problems come in the order of the files and their lines. */
export function parsePolicies(files: readonly PolicyFile[]): PolicyLoad {
  return indexed(readPolicies(files));
}

function indexed(reading: PolicyReading): PolicyLoad {
  return reading.ok ? { ok: true, policies: createPolicySet(reading.policies) } : reading;
}

/** A thread that fails has read nothing. */
function readElsewhere(files: readonly PolicyFile[]): Promise<PolicyReading> {
  return new Promise((resolve) => {
    const failed = (thrown: unknown): void => {
      const why = thrown instanceof Error ? thrown.message : String(thrown);
      resolve({ ok: false, problems: [problem("", `the policies could not be read: ${why}`)] });
    };
    const worker = new Worker(new URL("./load-thread.ts", import.meta.url), { workerData: files });
    worker.once("message", resolve);
    worker.once("error", failed);
    worker.once("exit", (code) => failed(new Error(`the thread ended with ${code}`)));
  });
}

/** What parsePolicies does, but for the index. */
export function readPolicies(files: readonly PolicyFile[]): PolicyReading {
  const problems: PolicyProblem[] = [];
  const sources = files.flatMap((file) => splitPolicies(file.name, file.text));
  if (sources.length > MAX_POLICIES) {
    const message = `the set has ${sources.length} policies; at most ${MAX_POLICIES}`;
    return { ok: false, problems: [problem(files[0]?.name ?? "", message)] };
  }
  const policies: Policy[] = [];
  const sourceOf = new Map<string, PolicySource>();
  for (const source of sources) {
    const read = readPolicy(source);
    problems.push(...read.problems);
    if (read.policy === undefined) continue;
    const earlier = sourceOf.get(read.policy.id);
    if (earlier === undefined) {
      sourceOf.set(read.policy.id, source);
      policies.push(read.policy);
    } else {
      const place = `${earlier.file}:${earlier.line}`;
      problems.push(atAnnotation(source, "id", `@id("${read.policy.id}") is also at ${place}`));
    }
  }
  problems.push(...validateSet(policies, sourceOf));
  if (problems.length > 0) return { ok: false, problems: inOrder(problems, files) };
  return { ok: true, policies };
}

function readPolicy(source: PolicySource): {
  readonly policy: Policy | undefined;
  readonly problems: readonly PolicyProblem[];
} {
  const answer = policyToJson(source.text);
  if (answer.type === "failure") {
    const problems = answer.errors.map((error) => fromCedar(source, error));
    return { policy: undefined, problems };
  }
  const json = answer.json;
  const annotations: Readonly<Record<string, string | null>> = json.annotations ?? {};
  const conditions = readConditions(json);
  const { terms, problems: misfits } = readAnnotations(
    annotations,
    formOf(json, conditions.asksApproval),
  );
  const problems = misfits.map(({ name, message }) => atAnnotation(source, name, message));
  if (conditions.problem !== undefined) {
    problems.push({ ...placed(source, 0), message: conditions.problem });
  }
  const id = annotations.id;
  if (typeof id !== "string" || problems.length > 0) return { policy: undefined, problems };
  const policy: Policy = {
    id,
    effect: json.effect,
    text: source.text,
    terms,
    asksApproval: conditions.asksApproval,
    clock: conditions.clock,
    members: conditions.members,
    head: readHead(json),
  };
  return { policy, problems };
}

function formOf(json: PolicyJson, asksApproval: boolean): PolicyForm {
  if (json.effect === "permit") return "permit";
  return asksApproval ? "hold" : "forbid";
}

/** Cedar's strict validation, against the gateway's schema. */
function validateSet(
  policies: readonly Policy[],
  sourceOf: ReadonlyMap<string, PolicySource>,
): readonly PolicyProblem[] {
  const answer = validate({
    validationSettings: { mode: "strict" },
    schema: SCHEMA_TEXT,
    policies: {
      staticPolicies: Object.fromEntries(policies.map((policy) => [policy.id, policy.text])),
    },
  });
  if (answer.type === "failure") {
    return answer.errors.map((error) => problem("", error.message));
  }
  const found: PolicyProblem[] = [];
  const seen = new Set<string>();
  const tell = ({ policyId, error }: ValidationError) => {
    const source = sourceOf.get(policyId);
    const told = source === undefined ? problem("", error.message) : fromCedar(source, error);
    // The same mistake is found again for each action the policy is about.
    const key = `${policyId}\0${told.line}\0${told.column}\0${error.help ?? ""}`;
    if (!seen.has(key)) found.push(told);
    seen.add(key);
  };
  const errors = answer.validationErrors.toSorted((one, other) =>
    one.error.message < other.error.message ? -1 : 1,
  );
  errors.forEach(tell);
  const erring = new Set(errors.map((error) => error.policyId));
  for (const warning of answer.validationWarnings) {
    // What cannot apply is a mistake; what is merely written in two scripts may be somebody's name.
    if (erring.has(warning.policyId) || warning.error.message.includes("mixed scripts")) continue;
    erring.add(warning.policyId);
    tell(warning);
  }
  return found;
}

function fromCedar(source: PolicySource, error: DetailedError): PolicyProblem {
  const location = error.sourceLocations?.[0];
  const parts = [error.message.replace(/^failed to parse policy from string: /, "")];
  if (/types \w+::Action and \w+::Action/.test(error.message)) {
    parts.push("a list of actions takes those of one namespace; write a policy for each");
  }
  if (location?.label != null) parts.push(location.label);
  if (error.help != null) parts.push(error.help);
  const offset = location === undefined ? 0 : offsetOfByte(source.text, location.start);
  return {
    ...placed(source, offset),
    message: parts.join("; ").replaceAll(/for policy `[^`]*`, /g, ""),
  };
}

function atAnnotation(source: PolicySource, name: string, message: string): PolicyProblem {
  return { ...placed(source, source.annotationOffsets.get(name) ?? 0), message };
}

function placed(
  source: PolicySource,
  offset: number,
): { readonly file: string; readonly line: number; readonly column: number } {
  return { file: source.file, ...placeAt(source, offset) };
}

function problem(file: string, message: string): PolicyProblem {
  return { file, line: 1, column: 1, message };
}

function inOrder(
  problems: readonly PolicyProblem[],
  files: readonly PolicyFile[],
): readonly PolicyProblem[] {
  const order = new Map(files.map((file, index) => [file.name, index]));
  const place = (told: PolicyProblem) => order.get(told.file) ?? -1;
  return problems
    .toSorted(
      (one, other) =>
        place(one) - place(other) || one.line - other.line || one.column - other.column,
    )
    .slice(0, MAX_PROBLEMS);
}
