// What the parts of resolve.ts share: where the file is, what was found wrong, files and references
// made absolute.

import { readFileSync } from "node:fs";
import { resolve } from "node:path";

import type { SecretReference } from "../credential/reference.ts";
import type { Finding } from "./finding.ts";

export interface Context {
  /** Of custody.yaml; relative paths start there. */
  readonly directory: string;
  readonly findings: Finding[];
}

/** Files, and programs written with a slash, are found from the configuration's folder. */
export function resolveReference(context: Context, reference: SecretReference): SecretReference {
  if (reference.from === "file")
    return { from: "file", path: resolve(context.directory, reference.path) };
  const program = reference.from === "exec" ? reference.command[0] : undefined;
  if (reference.from === "exec" && program?.includes("/"))
    return {
      from: "exec",
      command: [resolve(context.directory, program), ...reference.command.slice(1)],
    };
  return reference;
}

/** The absolute path of a PEM file that is there now; it may be replaced while the gateway runs. */
export function pemFile(context: Context, path: Finding["path"], written: string): string {
  const absolute = resolve(context.directory, written);
  let found = "";
  try {
    found = readFileSync(absolute, "latin1");
  } catch {
    context.findings.push({ path, message: `${absolute} cannot be read` });
    return absolute;
  }
  if (!found.includes("-----BEGIN "))
    context.findings.push({ path, message: `${absolute} is not a PEM file` });
  return absolute;
}
