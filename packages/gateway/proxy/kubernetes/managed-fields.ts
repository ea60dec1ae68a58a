// What managed fields tell of values: they name members, "f:…", but of a list that is a set they name the values,
// "v:…", and of a list with keys what the keys are, "k:{…}" (structured-merge-diff, fieldpath).

import { isObject, type Json } from "./json-text.ts";

export interface HiddenValues {
  /** Of a Secret: nothing of it is to be named. */
  readonly secret: boolean;
  readonly environment: boolean;
  /** Members from the object's root; `*` is any member or element. */
  readonly fields: readonly (readonly string[])[];
}

/** Of an object's `metadata.managedFields`. */
export function namesValues(managed: Json, hidden: HiddenValues): boolean {
  const text = JSON.stringify(managed);
  if (!text.includes('"v:') && !text.includes('"k:')) return false;
  if (hidden.secret && text.includes('"v:')) return true;
  if (!Array.isArray(managed)) return true;
  const roots = (managed as readonly Json[]).map((one) => (isObject(one) ? one.fieldsV1 : null));
  return roots.some(
    (root = null) =>
      (hidden.environment && hasEnvironment(root)) ||
      hidden.fields.some((field) => isNamed(root, field)),
  );
}

/** Variables as `NAME=value` in a list that is a set. */
function hasEnvironment(node: Json): boolean {
  if (!isObject(node)) return false;
  return Object.entries(node).some(
    ([key, inner]) => (key === "f:env" && hasValues(inner)) || hasEnvironment(inner),
  );
}

function hasValues(node: Json): boolean {
  return isObject(node) && Object.keys(node).some((key) => key.startsWith("v:"));
}

function isNamed(node: Json, [step, ...rest]: readonly string[]): boolean {
  if (!isObject(node)) return false;
  if (step === undefined) return /"[vk]:/.test(JSON.stringify(node));
  return Object.entries(node).some(([key, inner]) => {
    if (step !== "*") return key === `f:${step}` && isNamed(inner, rest);
    if (key.startsWith("v:")) return rest.length === 0;
    const [next] = rest;
    if (key.startsWith("k:") && (next === undefined || key.includes(JSON.stringify(next))))
      return true;
    return isNamed(inner, rest);
  });
}
