// Secret references as an operator writes them. Anything that is not one is taken for a secret that
// was pasted in, so no message repeats what was written.

import type { SecretReference } from "./reference.ts";

export type ParsedReference =
  | { readonly ok: true; readonly reference: SecretReference }
  | { readonly ok: false; readonly message: string };

const HOW =
  "a secret is named, never written here: env:NAME, file:PATH, exec:PROGRAM ARGUMENTS, " +
  "or sealed:… as `custody seal` prints it";

/** `env:NAME`, `file:PATH`, `exec:PROGRAM ARGUMENTS` (split at spaces, no quoting), `sealed:BASE64URL`. */
export function parseSecretReference(text: string): ParsedReference {
  const at = text.indexOf(":");
  const kind = at < 0 ? "" : text.slice(0, at);
  const rest = text.slice(at + 1);
  if (kind === "env")
    return /^[A-Za-z_][A-Za-z0-9_]*$/.test(rest)
      ? { ok: true, reference: { from: "env", name: rest } }
      : refuse("env: takes the name of an environment variable, such as env:ORDERS_PASSWORD");
  if (kind === "file")
    return rest !== ""
      ? { ok: true, reference: { from: "file", path: rest } }
      : refuse("file: takes a path, such as file:./secrets/orders");
  if (kind === "exec") {
    const command = rest.split(" ").filter((word) => word !== "");
    return command.length > 0
      ? { ok: true, reference: { from: "exec", command } }
      : refuse("exec: takes a program and its arguments");
  }
  if (kind === "sealed")
    return /^[A-Za-z0-9_-]+$/.test(rest)
      ? { ok: true, reference: { from: "sealed", box: rest } }
      : refuse("sealed: takes what `custody seal` printed, whole");
  return refuse(HOW);
}

function refuse(message: string): ParsedReference {
  return { ok: false, message };
}
