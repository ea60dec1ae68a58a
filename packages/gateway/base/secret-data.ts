// Secrets on their way between two processes of the gateway: a Secret does not survive being copied as
// data, on purpose; what has to cross is taken out of it here and put back on the other side.

import { Secret } from "./secret.ts";

const MARK = "custody:secret";

/** The same value with every Secret in plain objects and arrays opened, to be sent to a process of ours. */
export function openSecrets(value: unknown): unknown {
  if (value instanceof Secret) return { [MARK]: value.reveal() };
  return mapped(value, openSecrets);
}

/** The reverse: plain objects and arrays as `openSecrets` had them. */
export function closeSecrets(value: unknown): unknown {
  if (isPlain(value) && typeof value[MARK] === "string") return new Secret(value[MARK]);
  return mapped(value, closeSecrets);
}

function mapped(value: unknown, map: (value: unknown) => unknown): unknown {
  if (Array.isArray(value)) return value.map(map);
  if (!isPlain(value)) return value;
  return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, map(one)]));
}

/** Bytes, Maps and the like are left as they are: nothing of ours keeps a secret in one. */
function isPlain(value: unknown): value is Record<string, unknown> {
  if (typeof value !== "object" || value === null) return false;
  const prototype = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}
