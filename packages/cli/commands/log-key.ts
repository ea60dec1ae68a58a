// The key of the log, for a gateway that does not run. The gateway's code is loaded when asked for.

import { randomBytes } from "node:crypto";
import type { Command } from "commander";

import { CliError } from "../faults.ts";
import { type Invocation, invocationOf } from "../invocation.ts";
import { facts, type Io } from "../output.ts";
import { load } from "./gateway.ts";

export function addLogKeyCommands(program: Command, io: Io): void {
  const log = program.command("log").description("the key that signs the log");
  log
    .command("rotate")
    .description("put a new key of the same name in its place; stop the gateway first")
    .option("--config <file>", "the configuration", "custody.yaml")
    .addHelpText(
      "after",
      "\nThe old key is deleted; its verifier key is kept, for the heads it signed. Give the new one to\n" +
        "auditors and witnesses before the next start: a witness cosigns nothing of a key it does not know.",
    )
    .action(async (options: { config: string }, command: Command) =>
      rotate(invocationOf(command, io), options.config),
    );
}

async function rotate(invocation: Invocation, file: string): Promise<void> {
  const { rotateLogKey } = await import("@custody/gateway/audit/log-key.ts");
  const config = await load(file);
  if (config.log.signer !== undefined)
    throw new CliError("usage", "log.signer signs this log; its key is replaced where it is kept");
  const rotated = rotateLogKey(config.dataDirectory, randomBytes);
  invocation.print(rotated, () =>
    facts(invocation.io, [
      ["new", rotated.vkey],
      ["retired", rotated.retired],
    ]),
  );
}
