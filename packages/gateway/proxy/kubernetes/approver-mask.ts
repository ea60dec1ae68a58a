// Objects and bodies as approvers see them: everything classified is masked, by "[masked <class>]" whatever
// mask clients get. A value that a body writes is marked as written, so that it stands in a difference
// whether or not it is what is there already: that it is would tell the value.

import { readJson } from "@custody/wire/kubernetes/json-read.ts";
import type { ResourceRequest } from "@custody/wire/kubernetes/request-info.ts";
import type { KubernetesTarget } from "../../target/target.ts";
import { createAnswerMask } from "./answer-mask.ts";
import { isObject, type Json } from "./json-text.ts";
import { fieldsOf } from "./operations.ts";
import { pointerSteps } from "./patched.ts";
import type { RequestBody } from "./request-body.ts";

const MASK = /^\[masked [a-z0-9.-]+\]$/;
const MAX_STEPS = 64;

/** An object as the API server has it. */
export function maskedObject(target: KubernetesTarget, info: ResourceRequest, value: Json): Json {
  return marked(masked(target, info, value), "");
}

/** The body of a request; of a JSON patch its operations. */
export function maskedBody(
  target: KubernetesTarget,
  info: ResourceRequest,
  { value, isJsonPatch }: RequestBody,
): Json {
  const written = (one: Json) => marked(masked(target, info, one), " as written");
  if (value === undefined) return null;
  if (!isJsonPatch || !Array.isArray(value)) return written(value);
  return (value as readonly Json[]).map((operation) => {
    if (!isObject(operation) || operation.value === undefined) return operation;
    const steps = pointerSteps(String(operation.path)).slice(0, MAX_STEPS);
    const { value: given } = operation;
    // A number is an element's place, or a member's name: it is masked as either.
    const asMember = follow(masked(target, info, nested(steps, given, false)), steps);
    const shown = follow(written(nested(steps, asMember ?? "[masked]", true)), steps);
    return { ...operation, value: shown ?? "[masked]" };
  });
}

/** Classes of the values that a body brings, but those that are shown. */
export function classesWritten(
  target: KubernetesTarget,
  info: ResourceRequest,
  { value, isJsonPatch }: RequestBody,
  shown: ReadonlySet<string>,
): ReadonlySet<string> {
  const mask = maskOf(target, info, shown);
  const look = (one: Json) => void mask.apply(Buffer.from(JSON.stringify(one)));
  if (value === undefined) return mask.masked;
  if (!isJsonPatch || !Array.isArray(value)) look(value);
  else
    for (const operation of value as readonly Json[]) {
      if (!isObject(operation) || operation.value === undefined) continue;
      const steps = pointerSteps(String(operation.path)).slice(0, MAX_STEPS);
      for (const hasLists of [false, true]) look(nested(steps, operation.value, hasLists));
    }
  return mask.masked;
}

function masked(target: KubernetesTarget, info: ResourceRequest, value: Json): Json {
  const mask = maskOf(target, info, new Set());
  return readJson(mask.apply(Buffer.from(JSON.stringify(value))).toString("utf8")) as Json;
}

function maskOf(target: KubernetesTarget, info: ResourceRequest, shown: ReadonlySet<string>) {
  const isSecrets = info.group === "" && info.resource === "secrets";
  return createAnswerMask({
    ...{ isSecrets, fields: fieldsOf(target, info), shown, maskOf: () => "redact" },
  });
}

/** Masks of Secrets' data are base64 of one. */
function marked(value: Json, mark: string): Json {
  if (typeof value === "string") {
    const text = value.startsWith("W21hc2tlZC") ? Buffer.from(value, "base64").toString() : value;
    return MASK.test(text) ? text + mark : value;
  }
  if (Array.isArray(value)) return (value as readonly Json[]).map((one) => marked(one, mark));
  if (!isObject(value)) return value;
  return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, marked(one, mark)]));
}

/** The value at the place the pointer names. */
function nested(steps: readonly string[], value: Json, hasLists: boolean): Json {
  let inner = value;
  for (const step of [...steps].reverse())
    inner = hasLists && isPlace(step) ? [inner] : { [step]: inner };
  return inner;
}

function follow(value: Json, steps: readonly string[]): Json | undefined {
  let at: Json | undefined = value;
  for (const step of steps) {
    if (Array.isArray(at)) at = (at as readonly Json[])[0];
    else if (isObject(at)) at = at[step];
    else return undefined;
  }
  return at;
}

function isPlace(step: string): boolean {
  return step === "-" || /^\d+$/.test(step);
}
