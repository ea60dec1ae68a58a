// A witness for other people's logs (C2SP tlog-witness). It needs no gateway, and sees heads only.

import { randomBytes } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { COSIGNATURE_ML_DSA_44, COSIGNATURE_V1, parseKey } from "@custody/evidence/core/note.ts";
import { makeSigningKey, parseSigningKey } from "@custody/evidence/node/signing-key.ts";
import { openWitness } from "@custody/evidence/node/witness.ts";
import { serveWitness, type WitnessServer } from "@custody/evidence/node/witness-server.ts";
import type { Command } from "commander";

import { CliError } from "../faults.ts";
import { type Invocation, invocationOf } from "../invocation.ts";
import type { Io } from "../output.ts";

interface ServeOptions {
  readonly listen: string;
  readonly log?: string[];
  readonly tlsCert?: string;
  readonly tlsKey?: string;
}

const KEYS = "witness.key";
const LOGS = "logs";

export function addWitnessCommands(program: Command, io: Io): void {
  const witness = program
    .command("witness")
    .description("cosign the heads of others' logs, so that they cannot be rewritten unseen");
  witness
    .command("init")
    .description("make a witness's keys, Ed25519 and ML-DSA-44")
    .argument("<directory>", "where its keys and its state are")
    .requiredOption("--name <name>", "what it is known as: witness.example/w1")
    .addHelpText(
      "after",
      "\nPrints the verifier keys: one of them goes into a gateway's log.witnesses.",
    )
    .action((directory: string, options: { name: string }, command: Command) =>
      init(invocationOf(command, io), directory, options.name),
    );
  witness
    .command("serve")
    .description("run a witness until it is told to stop (SIGTERM, Ctrl-C)")
    .argument("<directory>", "made by custody witness init")
    .option("--listen <address>", "host:port; port 0 takes any free one", "127.0.0.1:7450")
    .option("--log <vkey...>", `keys of the logs it knows; more are read from <directory>/${LOGS}`)
    .option("--tls-cert <file>", "PEM file of its certificate; left out: plain HTTP")
    .option("--tls-key <file>", "PEM file of the certificate's key")
    .action(async (directory: string, options: ServeOptions, command: Command) =>
      serve(invocationOf(command, io), directory, options),
    );
}

function init(invocation: Invocation, directory: string, name: string): void {
  const path = join(directory, KEYS);
  if (existsSync(path)) throw new CliError("refused", `${path} is there already`);
  const texts = usage(() =>
    [COSIGNATURE_V1, COSIGNATURE_ML_DSA_44].map((type) =>
      makeSigningKey(name, type as typeof COSIGNATURE_V1, randomBytes),
    ),
  );
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  writeFileSync(path, texts.map((text) => `${text}\n`).join(""), { mode: 0o600, flag: "wx" });
  const keys = texts.map((text) => parseSigningKey(text).vkey);
  invocation.print({ keys }, () => `${keys.join("\n")}\n`);
}

async function serve(
  invocation: Invocation,
  directory: string,
  options: ServeOptions,
): Promise<void> {
  const { io } = invocation;
  const keys = usage(() => lines(join(directory, KEYS)).map(parseSigningKey));
  const known = existsSync(join(directory, LOGS)) ? lines(join(directory, LOGS)) : [];
  const logs = usage(() => [...known, ...(options.log ?? [])].map(parseKey));
  if (logs.length === 0)
    throw new CliError("usage", `it knows no log: --log, or keys in ${join(directory, LOGS)}`);
  const { host, port } = addressOf(options.listen);
  const tls = usage(() => tlsOf(options));
  using witness = openWitness({ directory, keys, logs, nowMs: io.nowMs });
  const onFault = (error: unknown) => io.stderr(`custody witness: ${String(error)}\n`);
  await using server: WitnessServer = await serveWitness(witness, {
    ...{ host, port, onFault },
    ...(tls === undefined ? {} : { tls }),
  }).catch((cause: unknown) => {
    throw new CliError("usage", `cannot listen on ${options.listen}`, { cause });
  });
  const scheme = tls === undefined ? "http" : "https";
  invocation.print(
    { ready: true, host, port: server.port, logs: logs.map(({ name }) => name) },
    () =>
      `witness of ${logs.map(({ name }) => name).join(", ")} on ${scheme}://${host}:${server.port}/\n`,
  );
  await new Promise<void>((resolve) => {
    for (const signal of ["SIGTERM", "SIGINT"] as const) process.once(signal, () => resolve());
  });
}

function tlsOf({ tlsCert, tlsKey }: ServeOptions): { cert: string; key: string } | undefined {
  if (tlsCert === undefined && tlsKey === undefined) return undefined;
  if (tlsCert === undefined || tlsKey === undefined)
    throw new CliError("usage", "--tls-cert and --tls-key go together");
  return { cert: readFileSync(tlsCert, "utf8"), key: readFileSync(tlsKey, "utf8") };
}

function addressOf(text: string): { host: string; port: number } {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^\s:[\]]+)):(\d{1,5})$/.exec(text);
  if (match === null || Number(match[3]) > 65_535)
    throw new CliError("usage", "--listen is host:port, such as 127.0.0.1:7450");
  return { host: match[1] ?? match[2] ?? "", port: Number(match[3]) };
}

function lines(path: string): string[] {
  return readFileSync(path, "utf8")
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "" && !line.startsWith("#"));
}

function usage<T>(action: () => T): T {
  try {
    return action();
  } catch (cause) {
    if (cause instanceof CliError) throw cause;
    throw new CliError("usage", cause instanceof Error ? cause.message : String(cause), { cause });
  }
}
