// Operators' grammars of programs' arguments: read and tried when the configuration is, so that one that
// is wrong is a problem of the configuration and not of the first command.

import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { GatewayError } from "../base/errors.ts";
import { type GrammarText, loadGrammars } from "../command/load-grammars.ts";
import type { Context } from "./resolve-context.ts";

export function resolveGrammars(
  context: Context,
  paths: readonly string[],
): readonly GrammarText[] {
  return paths.map((written, index) => {
    const name = resolve(context.directory, written);
    const path = ["grammars", index];
    try {
      const found = { name, text: readFileSync(name, "utf8") };
      loadGrammars([found]);
      return found;
    } catch (thrown) {
      const message = thrown instanceof GatewayError ? thrown.message : `${name} cannot be read`;
      context.findings.push({ path, message });
      return { name, text: "" };
    }
  });
}
