// Signing in and out, and the contexts that keep who one is where.

import { readFileSync } from "node:fs";

import { GRANT_TYPE_TOKEN_EXCHANGE, TOKEN_TYPE } from "@custody/contract/oauth.ts";
import { type Command, Option } from "commander";

import { createClient } from "../client.ts";
import { CliError } from "../faults.ts";
import { type Invocation, invocationOf } from "../invocation.ts";
import { facts, type Io, relative, table } from "../output.ts";
import { fetchCa } from "../trust.ts";

interface LoginOptions {
  readonly caFingerprint?: string;
  readonly caFile?: string;
  readonly tokenFile?: string;
  readonly tokenType: "id_token" | "access_token" | "jwt";
  readonly ttl?: string;
}

export function addLoginCommands(program: Command, io: Io): void {
  program.commandsGroup("Signing in:");
  program
    .command("login")
    .description("sign in at a gateway with a token of an identity provider, and keep a context")
    .argument("<url>", "the gateway's https address: https://custody.example.com:7443")
    .option("--ca-fingerprint <sha256>", "trust the gateway's CA with this fingerprint")
    .option("--ca-file <file>", "trust the CA in this PEM file")
    .requiredOption("--token-file <file>", "the identity provider's token; - reads standard input")
    .addOption(
      new Option("--token-type <type>", "what kind of token it is")
        .choices(["id_token", "access_token", "jwt"])
        .default("id_token"),
    )
    .option("--ttl <duration>", "how long the sign-in lasts, at most what the gateway allows")
    .addHelpText(
      "after",
      `
The context is named by --context, else after the host. Without --ca-fingerprint or --ca-file the
system's CAs are trusted.

Examples:
  custody login https://127.0.0.1:7443 --ca-fingerprint AB:CD:… --token-file id-token
  get-token | custody login https://gw:7443 --ca-file ca.pem --token-file - --context work`,
    )
    .action(async (url: string, options: LoginOptions, command: Command) =>
      login(invocationOf(command, io), url, options),
    );
  program
    .command("logout")
    .description("revoke the sign-in, everything delegated from it included, and forget it")
    .option("--keep", "only forget it here; the delegations live on until they expire")
    .action(async (options: { keep?: boolean }, command: Command) =>
      logout(invocationOf(command, io), options.keep === true),
    );
  program
    .command("context")
    .description("list the contexts, or make one the current one")
    .argument("[name]", "the context to use from now on")
    .action((name: string | undefined, _options: unknown, command: Command) =>
      contexts(invocationOf(command, io), name),
    );
}

async function login(invocation: Invocation, given: string, options: LoginOptions): Promise<void> {
  const { contexts: store, io } = invocation;
  const url = parseGatewayUrl(given);
  const name =
    invocation.chosenContext ?? url.hostname.replaceAll(/[^a-z0-9.-]/g, "-").replace(/^-+/, "");
  if (options.tokenFile === undefined) throw new CliError("usage", "--token-file is needed");
  const token = (await readToken(invocation, options.tokenFile)).trim();
  const ca =
    options.caFile !== undefined
      ? readText(options.caFile)
      : options.caFingerprint !== undefined
        ? await fetchCa(url, options.caFingerprint)
        : (store.read(name)?.ca ?? null);
  const client = createClient({ url: url.origin, ca, token: undefined });
  try {
    const answer = await client.call("token", {
      body: {
        grant_type: GRANT_TYPE_TOKEN_EXCHANGE,
        subject_token: token,
        subject_token_type: SUBJECT_TYPES[options.tokenType],
        requested_token_type: TOKEN_TYPE.handle,
        ...(options.ttl !== undefined && { expires_in: String(parseTtl(options.ttl)) }),
      },
    });
    const expiresAt = new Date(io.nowMs() + answer.expires_in * 1000).toISOString();
    store.write(name, {
      url: url.origin,
      ca,
      token: answer.access_token,
      delegationId: answer.delegation_id,
    });
    store.choose(name);
    const value = { context: name, url: url.origin, delegationId: answer.delegation_id, expiresAt };
    invocation.print(value, () =>
      facts(io, [
        ["signed in at", url.origin],
        ["context", name],
        ["delegation", answer.delegation_id],
        ["expires", relative(expiresAt, io.nowMs())],
      ]),
    );
  } finally {
    await client.close();
  }
}

const SUBJECT_TYPES = {
  id_token: TOKEN_TYPE.idToken,
  access_token: TOKEN_TYPE.accessToken,
  jwt: TOKEN_TYPE.jwt,
} as const;

async function logout(invocation: Invocation, keep: boolean): Promise<void> {
  const name = invocation.chosenContext ?? invocation.contexts.currentName();
  const context = name === undefined ? undefined : invocation.contexts.read(name);
  if (name === undefined || context === undefined || context.token === null)
    throw new CliError("unauthenticated", "nobody is signed in here");
  const { token } = context;
  if (!keep) {
    const client = createClient({ url: context.url, ca: context.ca, token });
    try {
      await client.call("revokeToken", { body: { token } });
    } finally {
      await client.close();
    }
  }
  invocation.contexts.write(name, { ...context, token: null, delegationId: null });
  invocation.print({ context: name, revoked: !keep }, () =>
    keep
      ? `forgotten in context ${name}; not revoked\n`
      : `signed out in context ${name}; everything delegated from it has ended\n`,
  );
}

function contexts(invocation: Invocation, name: string | undefined): void {
  const { contexts: store, io } = invocation;
  if (name !== undefined) {
    if (store.read(name) === undefined)
      throw new CliError("usage", `there is no context "${name}"`, {
        hint: `there are: ${store.names().join(", ") || "none; custody login makes one"}`,
      });
    store.choose(name);
  }
  const current = store.currentName();
  const rows = store.names().flatMap((one) => {
    const context = store.read(one);
    if (!context) return [];
    const { url, delegationId, token } = context;
    return [{ name: one, current: one === current, url, delegationId, signedIn: token !== null }];
  });
  invocation.print({ contexts: rows }, () =>
    rows.length === 0
      ? "no contexts; custody login makes one\n"
      : table(
          io,
          [
            { title: "", value: (row) => (row.current ? "*" : "") },
            { title: "CONTEXT", value: (row) => row.name },
            { title: "GATEWAY", value: (row) => row.url, flexible: true },
            { title: "DELEGATION", value: (row) => row.delegationId ?? "signed out" },
          ],
          rows,
        ),
  );
}

function parseGatewayUrl(given: string): URL {
  const url = URL.parse(given.includes("://") ? given : `https://${given}`);
  if (url?.protocol !== "https:" || url.username !== "" || url.password !== "")
    throw new CliError("usage", `"${given}" is not a gateway's address`, {
      hint: "it is like https://custody.example.com:7443",
    });
  return url;
}

/** Seconds of `90s`, `10m`, `1h30m`, `2d`. */
export function parseTtl(text: string): number {
  if (!/^(\d{1,7}[smhd])+$/.test(text))
    throw new CliError("usage", `"${text}" is not a duration`, { hint: "write 90s, 10m or 1h30m" });
  const seconds = { s: 1, m: 60, h: 3600, d: 86_400 };
  let total = 0;
  for (const [, digits, unit] of text.matchAll(/(\d+)([smhd])/g))
    total += Number(digits) * seconds[unit as keyof typeof seconds];
  if (total === 0) throw new CliError("usage", "a duration of nothing");
  return total;
}

export async function readToken(invocation: Invocation, file: string): Promise<string> {
  return file === "-" ? await invocation.io.readStdin() : readText(file);
}

function readText(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    throw new CliError("usage", `${file} cannot be read`, { cause: error });
  }
}
