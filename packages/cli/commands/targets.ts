// Targets, and starting an unmodified client on one.

import { spawn } from "node:child_process";
import { rmSync } from "node:fs";
import { constants } from "node:os";

import type { TargetView } from "@custody/contract/delegations.ts";
import type { ResponseOf } from "@custody/contract/endpoints.ts";
import type { Command } from "commander";

import { certifiedKey } from "../certified-key.ts";
import { CliError } from "../faults.ts";
import { type Gateway, type Invocation, invocationOf } from "../invocation.ts";
import { passwordOf } from "../key-delegation.ts";
import { facts, type Io, table } from "../output.ts";
import { connectSsh } from "./ssh.ts";

type TargetList = ResponseOf<"targets">;

/** `passedOn`: what came after `--`, for the client that `connect` starts. */
export function addTargetCommands(program: Command, io: Io, passedOn: readonly string[]): void {
  program.commandsGroup("Using targets:");
  program
    .command("targets")
    .description("what can be reached, and where")
    .action(async (_options: unknown, command: Command) => targets(invocationOf(command, io)));
  program
    .command("connect")
    .description("start psql or ssh on a target with everything set: address, trust, credential")
    .argument("<target>", "orders, or ro~orders for the account ro")
    .argument("[database]", "default: the target's only one")
    .option("--print", "print the settings for another client instead of starting psql")
    .option("--client <program>", "a program that knows libpq's PG… variables", "psql")
    .option("--certificate", "the client shows a certificate instead of a password")
    .usage("[options] <target> [database] [-- arguments for the client]")
    .addHelpText(
      "after",
      `
The credential is in a password file of its own while the client runs, never in the client's
environment or arguments; with --certificate a key made for it and its certificate are, and the password is
nowhere. The exit code is the client's.

Examples:
  custody connect orders shop
  custody connect ro~orders shop -- -c 'select count(*) from customers'
  custody connect orders shop --client pg_dump -- --schema-only
  custody connect orders shop --print              # for pgAdmin, DBeaver, a driver
  custody connect deploy~web-1 -- systemctl status nginx`,
    )
    .action(
      async (
        target: string,
        database: string | undefined,
        options: { print?: boolean; client: string; certificate?: true },
        command: Command,
      ) => connect(invocationOf(command, io), { target, database, rest: passedOn, ...options }),
    );
}

async function targets(invocation: Invocation): Promise<void> {
  const list = await invocation.withClient((client) => client.call("targets"));
  invocation.print(list, () => {
    if (list.targets.length === 0) return "no target can be reached with this delegation\n";
    const where = list.listeners.postgres;
    const rows = table<TargetView>(
      invocation.io,
      [
        { title: "TARGET", value: (row) => row.name },
        { title: "PROTOCOL", value: (row) => row.protocol },
        {
          title: "ACCOUNTS",
          value: (row) =>
            row.accounts
              .map((one) => (one === row.defaultAccount ? `${one} (default)` : one))
              .join(", "),
          flexible: true,
        },
        { title: "DATABASES", value: (row) => row.databases?.join(", ") ?? "any", flexible: true },
        { title: "CLASSES", value: (row) => row.classes.join(", "), flexible: true },
        {
          title: "TAGS",
          value: (row) =>
            Object.entries(row.tags)
              .map((tag) => tag.join("="))
              .join(" "),
          flexible: true,
        },
      ],
      list.targets,
    );
    const { ssh } = list.listeners;
    const addresses = [
      where ? `\npostgres clients connect to ${where.host}:${where.port}\n` : "",
      ssh
        ? `\nSSH clients connect to ${ssh.host}:${ssh.port}; custody ssh-config tells them how\n`
        : "",
    ];
    return rows + invocation.palette.dim(addresses.join(""));
  });
}

interface ConnectOptions {
  readonly target: string;
  readonly database: string | undefined;
  readonly rest: readonly string[];
  readonly print?: boolean;
  readonly client: string;
  readonly certificate?: true;
}

async function connect(invocation: Invocation, options: ConnectOptions): Promise<void> {
  const gateway = invocation.gateway();
  if (gateway.token === undefined)
    throw new CliError("unauthenticated", "nobody is signed in here", {
      hint: `custody login ${gateway.url}, or CUSTODY_TOKEN in the environment`,
    });
  const token = await passwordOf(invocation, gateway.token);
  const list = await invocation.withClient((client) => client.call("targets"));
  if (targetNamed(list, options.target)?.protocol === "ssh") {
    const words =
      options.database === undefined ? options.rest : [options.database, ...options.rest];
    const code = await connectSsh(invocation, options.target, words);
    if (code !== 0) invocation.exit(code);
    return;
  }
  const settings = settingsOf(gateway, list, options);
  if (options.print === true || invocation.json) {
    if (options.certificate === true)
      throw new CliError("usage", "--certificate is for a client that is started here");
    invocation.print({ ...settings, password: token }, () => printed(invocation, settings, token));
    return;
  }
  const shown = await credentialFiles(invocation, settings, token, options.certificate === true);
  try {
    const code = await run(options.client, options.rest, {
      ...childEnvironment(invocation.io.environment),
      PGHOST: settings.host,
      PGPORT: settings.port,
      PGUSER: settings.user,
      PGDATABASE: settings.database,
      PGSSLMODE: "verify-full",
      PGSSLROOTCERT: settings.sslrootcert,
      ...shown,
    });
    if (code !== 0) invocation.exit(code);
  } finally {
    for (const file of Object.values(shown)) rmSync(file, { force: true });
  }
}

/** What the client shows, in files that only this user reads, by libpq's variable for each. */
async function credentialFiles(
  invocation: Invocation,
  settings: Settings,
  token: string,
  isCertificate: boolean,
): Promise<Readonly<Record<string, string>>> {
  const { contexts } = invocation;
  if (isCertificate) {
    const { certificate, key } = await certifiedKey(invocation);
    return {
      PGSSLCERT: contexts.writePrivate(`pgcert-${process.pid}`, certificate),
      PGSSLKEY: contexts.writePrivate(`pgkey-${process.pid}`, key),
    };
  }
  const fields = [settings.host, settings.port, settings.database, settings.user, token];
  const line = `${fields.map(passField).join(":")}\n`;
  return { PGPASSFILE: contexts.writePrivate(`pgpass-${process.pid}`, line) };
}

interface Settings {
  readonly host: string;
  readonly port: string;
  readonly user: string;
  readonly database: string;
  readonly sslmode: "verify-full";
  readonly sslrootcert: string;
}

function settingsOf(gateway: Gateway, list: TargetList, options: ConnectOptions): Settings {
  const name = options.target.slice(options.target.indexOf("~") + 1);
  const target = targetNamed(list, options.target);
  if (target === undefined)
    throw new CliError("refused", `there is no target ${name} for this delegation`, {
      code: "not_found",
      hint: `there are: ${list.targets.map((one) => one.name).join(", ") || "none"}`,
    });
  const account = options.target.includes("~") ? options.target.split("~", 1)[0] : undefined;
  if (account === undefined && target.defaultAccount === null)
    throw new CliError("usage", `${name} has several accounts; name one`, {
      hint: target.accounts.map((one) => `custody connect ${one}~${name}`).join("  or  "),
    });
  const only = target.databases?.length === 1 ? target.databases[0] : undefined;
  const database = options.database ?? only;
  if (database === undefined)
    throw new CliError("usage", "which database?", {
      hint: `custody connect ${options.target} DATABASE${target.databases ? ` (${target.databases.join(", ")})` : ""}`,
    });
  const listener = postgresAddress(gateway, list);
  if (listener === undefined)
    throw new CliError("refused", "this gateway has no PostgreSQL listener");
  return {
    host: listener.host,
    port: String(listener.port),
    user: options.target,
    database,
    sslmode: "verify-full",
    sslrootcert: gateway.caFile ?? "system",
  };
}

/** `orders`, or `ro~orders` for the account ro. */
function targetNamed(list: TargetList, written: string): TargetView | undefined {
  const name = written.slice(written.indexOf("~") + 1);
  return list.targets.find((one) => one.name === name);
}

/** Where clients reach the PostgreSQL listener from here; undefined: there is none. */
export function postgresAddress(
  gateway: Gateway,
  list: TargetList,
): { readonly host: string; readonly port: number } | undefined {
  const listener = list.listeners.postgres;
  if (listener === undefined) return undefined;
  const everywhere = listener.host === "0.0.0.0" || listener.host === "::";
  const host = everywhere ? hostOf(gateway) : listener.host;
  return { host, port: listener.port };
}

/** The gateway's name or address, an IPv6 one without brackets. */
export function hostOf(gateway: Gateway): string {
  return new URL(gateway.url).hostname.replace(/^\[(.*)\]$/, "$1");
}

function printed(invocation: Invocation, settings: Settings, token: string): string {
  const { host, port, user, database, sslmode, sslrootcert } = settings;
  const quoted = sslrootcert.replaceAll(/['\\]/g, "\\$&");
  const list = facts(invocation.io, [
    ["host", host],
    ["port", port],
    ["user", user],
    ["database", database],
    ["sslmode", sslmode],
    ["sslrootcert", sslrootcert],
    ["password", token],
  ]);
  return `${list}\npsql "host=${host} port=${port} user=${user} dbname=${database} sslmode=${sslmode} sslrootcert='${quoted}'"\n`;
}

/** What the client gets of our environment: not the credential, and no setting that would win over ours. */
function childEnvironment(environment: Io["environment"]): NodeJS.ProcessEnv {
  const child: NodeJS.ProcessEnv = {};
  for (const [name, value] of Object.entries(environment))
    if (
      name !== "CUSTODY_TOKEN" &&
      !/^PG(HOST|SSL|PASS|SERVICE|REQUIRE|CHANNEL|GSS|TARGET)/.test(name)
    )
      child[name] = value;
  return child;
}

/** The client has the terminal; signals go to it, and its exit code is ours to tell. */
function run(program: string, args: readonly string[], env: NodeJS.ProcessEnv): Promise<number> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { env, stdio: "inherit" });
    const ignore = () => undefined;
    const terminate = () => void child.kill("SIGTERM");
    // Ctrl-C cancels the client's query; the terminal sends it to both of us.
    process.on("SIGINT", ignore);
    process.on("SIGTERM", terminate);
    child.on("error", (error) =>
      reject(
        new CliError("refused", `${program} cannot be started`, {
          hint: "is it installed? --print shows the settings for any other client",
          cause: error,
        }),
      ),
    );
    child.on("close", (code, signal) => {
      process.off("SIGINT", ignore);
      process.off("SIGTERM", terminate);
      resolve(code ?? 128 + (signal === null ? 0 : constants.signals[signal]));
    });
  });
}

/** libpq's password file: colons and backslashes are escaped. */
function passField(text: string): string {
  return text.replaceAll(/[\\:]/g, "\\$&");
}
