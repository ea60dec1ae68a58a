// The command line `custody`, put together. Each group of commands is in a file of its own below
// commands/; docs/reference/cli.md is made from what is defined there.

import { Command, CommanderError, Help } from "commander";

import { addAuditCommands } from "./commands/audit.ts";
import { addDelegationCommands } from "./commands/delegation.ts";
import { addEraseCommand } from "./commands/erase.ts";
import { addEvidenceCommands } from "./commands/evidence.ts";
import { addExplainCommand } from "./commands/explain.ts";
import { addGatewayCommands } from "./commands/gateway.ts";
import { addKubernetesCommands } from "./commands/kubernetes.ts";
import { addLogKeyCommands } from "./commands/log-key.ts";
import { addLoginCommands } from "./commands/login.ts";
import { addRequestCommands } from "./commands/requests.ts";
import { addRunCommand } from "./commands/run.ts";
import { addSessionCommands } from "./commands/sessions.ts";
import { addSshCommands } from "./commands/ssh.ts";
import { addTargetCommands } from "./commands/targets.ts";
import { addWitnessCommands } from "./commands/witness.ts";
import { type CliError, EXIT_CODE_HELP, EXIT_CODES, toCliError } from "./faults.ts";
import { invocationOf, SaidExit } from "./invocation.ts";
import { addKeyCommand } from "./key-delegation.ts";
import { harmless, type Io, jsonLine, paletteOf } from "./output.ts";
import { refreshIfDue } from "./sign-in.ts";

export const ENVIRONMENT_HELP: readonly (readonly [string, string])[] = [
  ["CUSTODY_TOKEN", "the credential to act with (a handle or JWT), instead of the context's"],
  ["CUSTODY_KEY", "file of the key that the credential is bound to (custody key makes one)"],
  ["CUSTODY_URL", "the gateway's https address, instead of a context"],
  ["CUSTODY_CA", "PEM file of the CA to trust for CUSTODY_URL"],
  ["CUSTODY_CONTEXT", "the context to use, instead of the current one"],
  [
    "CUSTODY_JUSTIFICATION",
    "why, for `custody run`, ssh and clients of Kubernetes; `run` sets this for its program",
  ],
  ["CUSTODY_HOME", "folder of the contexts; default: $XDG_CONFIG_HOME/custody, ~/.config/custody"],
  ["CUSTODY_KEYRING", "off: keep secrets in files (mode 0600) even where there is a keyring"],
  ["BROWSER", "the program that opens a page to sign in"],
  ["NO_COLOR", "when set: no colours"],
];

/** `passedOn`: what came after `--`, for a client that is started. */
export function buildProgram(io: Io, passedOn: readonly string[] = []): Command {
  const program = new Command("custody")
    .description("Custody: a privileged-access gateway for nested agents.")
    .option("--context <name>", "the gateway to talk to, as `custody context` lists them")
    .option("--json", "print JSON instead of text, errors too")
    .version(VERSION, "-V, --version", "print the version")
    .helpCommand("help [command]", "show help, for one command too")
    .showHelpAfterError("(custody --help, or custody help COMMAND)")
    .showSuggestionAfterError(true)
    .configureHelp({ showGlobalOptions: true, helpWidth: Math.min(io.columns, 100) })
    .addHelpText("after", () => closingHelp())
    .configureOutput({
      writeOut: io.stdout,
      writeErr: io.stderr,
      getOutHasColors: () => io.colour,
      getErrHasColors: () => io.colour,
    })
    .exitOverride()
    .hook("preAction", (_program, command) => refreshBefore(command, io));
  addLoginCommands(program, io);
  addDelegationCommands(program, io);
  addKeyCommand(program, io);
  addTargetCommands(program, io, passedOn);
  addSshCommands(program, io);
  addKubernetesCommands(program, io);
  addRunCommand(program, io, passedOn);
  addRequestCommands(program, io);
  addSessionCommands(program, io);
  addExplainCommand(program, io);
  addAuditCommands(program, io);
  addEvidenceCommands(program, io);
  addEraseCommand(program, io);
  addWitnessCommands(program, io);
  addLogKeyCommands(program, io);
  addGatewayCommands(program, io);
  return program;
}

/** The exit code. Prints every error itself; never throws. */
export async function runCli(args: readonly string[], io: Io): Promise<number> {
  const at = args.some((one) => STARTS_A_PROGRAM.has(one)) ? args.indexOf("--") : -1;
  const own = at < 0 ? args : args.slice(0, at);
  const passedOn = at < 0 ? [] : args.slice(at + 1);
  try {
    await buildProgram(io, passedOn).parseAsync(own, { from: "user" });
    return EXIT_CODES.ok;
  } catch (thrown) {
    if (thrown instanceof CommanderError) return thrown.exitCode === 0 ? 0 : EXIT_CODES.usage;
    if (thrown instanceof SaidExit) return thrown.exit;
    const error = toCliError(thrown);
    printError(error, io, own.includes("--json"));
    return EXIT_CODES[error.exit];
  }
}

/** Commands that act on contexts themselves, or need no gateway. */
const NEVER_REFRESHES = new Set([
  "login",
  "logout",
  "context",
  "init",
  "serve",
  "check",
  "seal",
  "rotate",
]);

async function refreshBefore(command: Command, io: Io): Promise<void> {
  const { CUSTODY_TOKEN, CUSTODY_URL, CUSTODY_CONTEXT } = io.environment;
  if (NEVER_REFRESHES.has(command.name()) || CUSTODY_TOKEN !== undefined) return;
  const { contexts, chosenContext } = invocationOf(command, io);
  if (CUSTODY_URL !== undefined && chosenContext === undefined) return;
  const name = chosenContext ?? CUSTODY_CONTEXT ?? contexts.currentName();
  if (name !== undefined) await refreshIfDue(contexts, io, name);
}

/** The order of commands in help and reference is the order in which they are defined. */
export function visibleCommands(command: Command): readonly Command[] {
  return new Help().visibleCommands(command).filter((one) => one.name() !== "help");
}

function printError(error: CliError, io: Io, json: boolean): void {
  const { code, message, hint, requestId } = error;
  // One JSON value on standard output, whatever came of it, so that programs read one place.
  if (json) {
    io.stdout(jsonLine({ error: { code, message, hint, requestId } }));
    return;
  }
  const { red, dim } = paletteOf(io);
  io.stderr(`${red("custody:")} ${harmless(message)}\n`);
  if (requestId !== undefined) io.stderr(`  request  ${harmless(requestId)}\n`);
  if (hint !== undefined) io.stderr(`  ${dim("next")}     ${harmless(hint)}\n`);
}

function closingHelp(): string {
  const list = (rows: readonly (readonly [string | number, string])[]) =>
    rows.map(([name, text]) => `  ${String(name).padEnd(16)}  ${text}`).join("\n");
  const codes = EXIT_CODE_HELP.map(([name, text]) => [EXIT_CODES[name], text] as const);
  return `\nEnvironment:\n${list(ENVIRONMENT_HELP)}\n\nExit codes:\n${list(codes)}`;
}

const STARTS_A_PROGRAM: ReadonlySet<string> = new Set(["connect", "run"]);
const VERSION = "0.1.0";
