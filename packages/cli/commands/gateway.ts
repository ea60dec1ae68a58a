// Running a gateway and preparing one. The gateway's code is loaded here only, and only when asked for.

import { type Command, InvalidArgumentError } from "commander";

import { CliError } from "../faults.ts";
import { type Invocation, invocationOf } from "../invocation.ts";
import { facts, harmless, type Io } from "../output.ts";

const DEFAULT_CONFIG = "custody.yaml";

export function addGatewayCommands(program: Command, io: Io): void {
  program.commandsGroup("Running a gateway:");
  program
    .command("init")
    .description("write a commented custody.yaml, starter policies, a CA and keys")
    .argument("[directory]", "where to", ".")
    .addHelpText("after", "\nNothing that is there is ever overwritten.")
    .action(async (directory: string, _options: unknown, command: Command) =>
      init(invocationOf(command, io), directory),
    );
  program
    .command("check")
    .description("validate the configuration and the policies without starting anything")
    .option("--config <file>", "the configuration", DEFAULT_CONFIG)
    .action(async (options: { config: string }, command: Command) =>
      check(invocationOf(command, io), options.config),
    );
  program
    .command("serve")
    .description("run the gateway until it is told to stop (SIGTERM, Ctrl-C)")
    .option("--config <file>", "the configuration", DEFAULT_CONFIG)
    .option("--workers <n>", "processes that clients' connections are shared by", processCount)
    .addHelpText(
      "after",
      `
The configuration and the policies are read again when they change and on SIGHUP; an invalid set is
refused and the running one stays. With --json one line is printed once it listens:
  {"ready":true,"postgres":{"host":…,"port":…},"https":{…},"fingerprint":"AB:CD:…"}`,
    )
    .action(async (options: ServeFlags, command: Command) =>
      serveGateway(invocationOf(command, io), options),
    );
  program
    .command("seal")
    .description("encrypt a secret for this gateway's configuration; reads standard input")
    .option("--config <file>", "the configuration", DEFAULT_CONFIG)
    .addHelpText("after", '\nExample:\n  printf %s "$PASSWORD" | custody seal')
    .action(async (options: { config: string }, command: Command) =>
      seal(invocationOf(command, io), options.config),
    );
  program
    .command("doctor")
    .description(
      "tell what targets leave open to the identities that sessions act by, and what they lack; changes nothing",
    )
    .argument(
      "[target]",
      "its name in the configuration; default: every PostgreSQL server and cluster",
    )
    .option("--config <file>", "the configuration", DEFAULT_CONFIG)
    .option(
      "--database <name>",
      "of PostgreSQL, the database to look into; default: those of the configuration",
    )
    .addHelpText(
      "after",
      "\nThe exit code is 1 when something is open or missing, 0 when nothing but loose ends was found.",
    )
    .action(
      async (
        name: string | undefined,
        options: { config: string; database?: string },
        command: Command,
      ) => doctor(invocationOf(command, io), name, options),
    );
  const target = program.command("target").description("prepare a target");
  target
    .command("setup")
    .description(
      "print what an administrator has to run on a target, for review; nothing is changed",
    )
    .argument("<target>", "its name in the configuration")
    .argument("[account]", "default: each of its accounts")
    .option("--config <file>", "the configuration", DEFAULT_CONFIG)
    .addHelpText("after", "\nExample:\n  custody target setup orders > setup.sql   # read it first")
    .action(
      async (
        name: string,
        account: string | undefined,
        options: { config: string },
        command: Command,
      ) => targetSetup(invocationOf(command, io), options.config, name, account),
    );
}

async function init(invocation: Invocation, directory: string): Promise<void> {
  const { initialise } = await import("@custody/gateway/config/init.ts");
  const made = await initialise(directory);
  invocation.print(made, () => {
    const list = facts(invocation.io, [
      ["configuration", made.configFile],
      ["policies", made.policiesDirectory],
      ["data", made.dataDirectory],
      ["CA", made.caFile],
      ["fingerprint", made.caFingerprint],
    ]);
    return `${list}\nNext: add a provider and a target to custody.yaml, then\n  custody check --config ${made.configFile}\n  custody serve --config ${made.configFile}\n`;
  });
}

async function check(invocation: Invocation, file: string): Promise<void> {
  const { checkConfiguration } = await import("@custody/gateway/config/check.ts");
  const { describeProblem } = await import("@custody/gateway/config/config.ts");
  const checked = await checkConfiguration(file);
  if (!checked.ok) {
    const { problems } = checked;
    invocation.print({ ok: false, problems }, () =>
      problems.map((problem) => `${harmless(describeProblem(problem))}\n`).join(""),
    );
    invocation.exit("usage");
    return;
  }
  const { config, policyVersion } = checked;
  const value = {
    ok: true,
    file: config.file,
    targets: [...config.targets.keys()],
    providers: [...config.providers.keys()],
    policyVersion,
  };
  invocation.print(value, () =>
    facts(invocation.io, [
      ["valid", config.file],
      ["targets", value.targets.join(", ") || "none"],
      ["providers", value.providers.join(", ") || "none"],
      ["policies", `version ${policyVersion}`],
    ]),
  );
}

interface ServeFlags {
  readonly config: string;
  readonly workers?: number;
}

function processCount(text: string): number {
  const count = Number(text);
  if (Number.isInteger(count) && count >= 1 && count <= 64) return count;
  throw new InvalidArgumentError("A number of processes, from 1 to 64.");
}

async function serveGateway(
  invocation: Invocation,
  { config, workers }: ServeFlags,
): Promise<void> {
  const { serve } = await import("@custody/gateway/main.ts");
  const { io, palette } = invocation;
  const code = await serve({
    configPath: config,
    workers,
    onReady: (listening) =>
      invocation.print({ ready: true, ...listening }, () => {
        const { postgres, ssh, kubernetes, https, admin, fingerprint } = listening;
        const url = `https://${hostPort(https)}`;
        const list = facts(io, [
          ["control API", url],
          ["PostgreSQL", postgres && hostPort(postgres)],
          ["SSH", ssh && hostPort(ssh)],
          ["Kubernetes", kubernetes && hostPort(kubernetes)],
          ["health and metrics", admin && `https://${hostPort(admin)}`],
          ["CA fingerprint", fingerprint],
        ]);
        const login = `custody login ${url} --ca-fingerprint ${fingerprint}`;
        return `${palette.bold("custody is ready")}\n${list}\n${login}\n`;
      }),
  });
  if (code !== 0) invocation.exit("refused");
}

async function seal(invocation: Invocation, file: string): Promise<void> {
  const config = await load(file);
  const { sealSecret } = await import("@custody/gateway/credential/secrets.ts");
  const value = (await invocation.io.readStdin()).replace(/\r?\n$/, "");
  const sealed = await sealSecret(config.dataDirectory, value);
  invocation.print({ sealed }, () => `${sealed}\n`);
}

async function targetSetup(
  invocation: Invocation,
  file: string,
  name: string,
  account: string | undefined,
): Promise<void> {
  const config = await load(file);
  const { postgresSetupSql } = await import("@custody/gateway/credential/setup.ts");
  const target = config.targets.get(name);
  if (target === undefined)
    throw new CliError("usage", `there is no target ${name} in ${config.file}`, {
      hint: `there are: ${[...config.targets.keys()].join(", ") || "none"}`,
    });
  const names = target.accounts.map((one) => one.name);
  if (account !== undefined && !names.includes(account))
    throw new CliError("usage", `target ${name} has no account ${account}`, {
      hint: `it has: ${names.join(", ")}`,
    });
  const wanted = account === undefined ? names : [account];
  if (target.protocol === "ssh") {
    const { sshSetupText } = await import("@custody/gateway/credential/ssh-setup.ts");
    const texts = wanted.map((one) => ({ account: one, text: sshSetupText(target, one) }));
    invocation.print({ target: name, setup: texts }, () =>
      texts.map(({ text }) => text).join("\n"),
    );
    return;
  }
  if (target.protocol !== "postgres")
    throw new CliError("usage", `target ${name} is no PostgreSQL server; there is no SQL for it`);
  const setup = wanted.map((one) => ({ account: one, sql: postgresSetupSql(target, one) }));
  invocation.print({ target: name, setup }, () => setup.map(({ sql }) => sql).join("\n"));
}

async function doctor(
  invocation: Invocation,
  name: string | undefined,
  options: { readonly config: string; readonly database?: string },
): Promise<void> {
  const config = await load(options.config);
  const { examineTargets } = await import("@custody/gateway/credential/examine-targets.ts");
  const targets = [...config.targets.values()].filter(
    (target) => name === undefined || target.name === name,
  );
  if (name !== undefined && targets.length === 0)
    throw new CliError("usage", `there is no target ${name} in ${config.file}`, {
      hint: `there are: ${[...config.targets.keys()].join(", ") || "none"}`,
    });
  const examined = await examineTargets(config, targets, options.database);
  invocation.print({ examined }, () => {
    const { palette } = invocation;
    return examined
      .map((one) => {
        const where = one.database === undefined ? "" : `, database ${one.database}`;
        const head = `${palette.bold(one.target)}, account ${one.account}${where}`;
        const unseen = (one.unseen ?? []).map((what) => `  not seen from here: ${what}\n`).join("");
        if (one.failed !== undefined) return `${head}: ${harmless(one.failed)}\n`;
        if (one.found.length === 0) return `${head}: nothing is open\n${unseen}`;
        const lines = one.found.map(
          ({ severity, what, remedy }) =>
            `  ${severity.padEnd(7)} ${harmless(what)}\n          ${harmless(remedy)}\n`,
        );
        return `${head}:\n${lines.join("")}${unseen}`;
      })
      .join("");
  });
  const isOpen = examined.some(
    ({ failed, found }) =>
      failed !== undefined || found.some(({ severity }) => severity !== "loose"),
  );
  if (isOpen) invocation.exit("refused");
}

/** The configuration of a gateway, which need not run. */
export async function load(file: string) {
  const { loadConfig } = await import("@custody/gateway/config/load.ts");
  const { describeProblem } = await import("@custody/gateway/config/config.ts");
  const loaded = loadConfig(file);
  if (loaded.ok) return loaded.config;
  throw new CliError("usage", loaded.problems.map(describeProblem).join("\n"), {
    code: "configuration",
    hint: "custody check",
  });
}

function hostPort(address: { readonly host: string; readonly port: number }): string {
  const host = address.host.includes(":") ? `[${address.host}]` : address.host;
  return `${host}:${address.port}`;
}
