// What a patch makes of an object, as far as the patch itself says: exactly for a merge patch (RFC 7386)
// and a JSON patch (RFC 6902); for a strategic merge and an apply, which the API server merges by schemas
// that are not known here, by the names of lists' elements. For approvers to read, never sent anywhere.

import { isObject, type Json, type JsonObject } from "./json-text.ts";
import { elementNames } from "./object-diff.ts";

/** RFC 7386 section 2. */
export function mergePatched(object: Json | undefined, patch: Json): Json {
  if (!isObject(patch)) return patch;
  const merged: Record<string, Json> = isObject(object) ? { ...object } : {};
  for (const [name, value] of Object.entries(patch)) {
    if (value === null) delete merged[name];
    else set(merged, name, mergePatched(own(merged, name), value));
  }
  return merged;
}

/** Lists whose elements have names are merged by them; any other is replaced. */
export function strategicallyPatched(object: Json | undefined, patch: Json): Json {
  if (Array.isArray(patch)) return mergedList(object, patch as readonly Json[]);
  if (!isObject(patch)) return patch;
  const merged: Record<string, Json> = isObject(object) ? { ...object } : {};
  for (const [name, value] of Object.entries(patch)) {
    if (value === null) delete merged[name];
    else set(merged, name, strategicallyPatched(own(merged, name), value));
  }
  return merged;
}

function mergedList(object: Json | undefined, patch: readonly Json[]): Json {
  const names = elementNames(patch);
  const list = Array.isArray(object) ? (object as readonly Json[]) : [];
  const known = elementNames(list);
  if (names === undefined || known === undefined) return patch;
  const places = new Map(known.map((name, at) => [name, at]));
  const merged = [...list];
  patch.forEach((one, index) => {
    const at = places.get(names[index] ?? "");
    if (at === undefined) merged.push(one);
    else merged[at] = strategicallyPatched(merged[at], one);
  });
  return merged;
}

/** undefined: it does not fit the object. Copy and move are never asked for (operations.ts refuses them). */
export function jsonPatched(object: Json, operations: readonly Json[]): Json | undefined {
  let result: Json | undefined = structuredClone(object);
  for (const operation of operations) {
    if (!isObject(operation) || typeof operation.path !== "string") return undefined;
    if (operation.op === "test") continue;
    const value = operation.op === "remove" ? undefined : (operation.value ?? null);
    result = written(result, pointerSteps(operation.path), value, operation.op === "add");
    if (result === undefined) return undefined;
  }
  return result;
}

/** RFC 6901. */
export function pointerSteps(pointer: string): readonly string[] {
  return pointer
    .split("/")
    .slice(1)
    .map((step) => step.replaceAll("~1", "/").replaceAll("~0", "~"));
}

/** In place where it can be; `value` undefined takes away. */
function written(
  holder: Json | undefined,
  steps: readonly string[],
  value: Json | undefined,
  isAdded: boolean,
): Json | undefined {
  const [step, ...rest] = steps;
  if (step === undefined) return value;
  if (Array.isArray(holder)) {
    const list = holder as Json[];
    const at = step === "-" ? list.length : /^\d+$/.test(step) ? Number(step) : -1;
    if (at < 0 || at > list.length || (at === list.length && !(isAdded && rest.length === 0)))
      return undefined;
    if (rest.length > 0) {
      const inner = written(list[at], rest, value, isAdded);
      if (inner === undefined) return undefined;
      list[at] = inner;
    } else if (value === undefined) list.splice(at, 1);
    else list.splice(at, isAdded ? 0 : 1, value);
    return holder;
  }
  if (!isObject(holder)) return undefined;
  const members = holder as Record<string, Json>;
  if (rest.length > 0) {
    const inner = written(own(members, step), rest, value, isAdded);
    if (inner === undefined) return undefined;
    set(members, step, inner);
  } else if (value === undefined) delete members[step];
  else set(members, step, value);
  return holder;
}

/** A member called `__proto__` is one like any other. */
function set(holder: Record<string, Json>, name: string, value: Json): void {
  Object.defineProperty(holder, name, {
    ...{ value, enumerable: true, writable: true, configurable: true },
  });
}

function own(holder: JsonObject, name: string): Json | undefined {
  return Object.hasOwn(holder, name) ? holder[name] : undefined;
}
