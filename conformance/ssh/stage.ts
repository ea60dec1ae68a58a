// What the SSH suites run against: a real sshd that trusts the gateway's certificates and nothing else,
// an identity provider, and the gateway as `custody serve` runs it, with policies of the suite's own.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openSshKeys } from "@custody/gateway/credential/ssh-keys.ts";
import { publicLine } from "@custody/gateway/proxy/ssh/certificates.ts";
import { runCustody } from "../support/command-line.ts";
import { startGateway, type TestGateway } from "../support/gateway.ts";
import { startOidcProvider } from "../support/oidc-provider.ts";
import { startSshServer, type TestSshServer } from "../support/ssh-server.ts";

export type Custody = (args: readonly string[]) => Promise<unknown>;

export interface SshStage extends AsyncDisposable {
  readonly folder: string;
  readonly server: TestSshServer;
  readonly gateway: TestGateway;
  readonly engineer: Custody;
  readonly operator: Custody;
  /** Folder of that person's command line. */
  home(name: string): string;
  /** A delegation of the engineer's, as a handle. */
  delegate(actor: string, actions: string, resources?: string): Promise<string>;
  /** Runs ssh or its kin with its password from a program, and the gateway in known_hosts. */
  run(handle: string, command: readonly string[], options?: RunOptions): Promise<Ran>;
  /** `-o` options for any of OpenSSH's clients. */
  readonly options: readonly string[];
}

export interface RunOptions {
  readonly input?: Buffer | string | undefined;
  readonly timeoutMs?: number;
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
}

export interface Ran {
  readonly code: number;
  readonly stdout: Buffer;
  readonly stderr: string;
}

export interface StageOptions {
  readonly policies: string;
  readonly sshd?: readonly string[];
  readonly workers?: number;
  /** More YAML for the account `deploy`. */
  readonly shell?: string;
  readonly limits?: string;
}

export async function openSshStage(options: StageOptions): Promise<SshStage> {
  await using parts = new AsyncDisposableStack();
  const folder = mkdtempSync(join(tmpdir(), "custody-ssh-"));
  parts.defer(() => rmSync(folder, { recursive: true, force: true }));
  const gatewayFolder = join(folder, "gateway");
  const data = join(folder, "authority");
  // The target has to know the gateway's authority before the gateway runs.
  const keys = openSshKeys(data);
  const server = parts.use(
    await startSshServer({
      folder: join(folder, "sshd"),
      userAuthority: publicLine(keys.targetCa, "custody"),
      ...(options.sshd === undefined ? {} : { more: options.sshd }),
    }),
  );
  const provider = parts.use(
    await startOidcProvider({
      accounts: [
        { name: "engineer", groups: ["engineers"] },
        { name: "operator", groups: ["operators"] },
      ],
    }),
  );
  const providerCa = join(folder, "provider-ca.pem");
  writeFileSync(providerCa, provider.ca);
  const gateway = parts.use(
    await startGateway({
      folder: gatewayFolder,
      ssh: true,
      sshKeysOf: data,
      ...(options.workers === undefined ? {} : { workers: options.workers }),
      policies: {
        ...{ "agents.cedar": "", "guards.cedar": "", "people.cedar": "", "operators.cedar": "" },
        "suite.cedar": options.policies,
      },
      configuration: `
providers:
  corp:
    oidc:
      issuer: ${provider.issuer}
      audience: ${provider.clientId}
      caFile: ${providerCa}
      kind: users
      username: preferred_username
      groups: groups
      algorithms: [ES256]
people:
  Erin Engineer: [corp/engineer]
  Olga Operator: [corp/operator]
targets:
  web-1:
    ssh:
      host: 127.0.0.1
      port: ${server.port}
      hostKeys: ["${server.hostKey}"]
      accounts:
        deploy:
          user: ${server.user}
          shell: ${options.shell ?? "bash"}
          credential: { certificate: {} }
    tags: { env: test }
limits: { holdWait: 20s, holdRepeat: 2s${options.limits ?? ""} }
`,
    }),
  );
  const port = gateway.ssh?.port ?? 0;
  const knownHosts = join(folder, "known_hosts");
  writeFileSync(
    knownHosts,
    `@cert-authority [127.0.0.1]:${port} ${publicLine(keys.hostCa, "custody")}\n`,
  );
  const person = async (name: string): Promise<Custody> => {
    const home = join(folder, name);
    mkdirSync(home, { mode: 0o700 });
    const custody: Custody = async (args) => {
      const result = await runCustody([...args, "--json"], { home });
      if (result.exitCode !== 0)
        throw new Error(`custody ${args[0]}: ${result.stdout}${result.stderr}`);
      return result.json;
    };
    const tokenFile = join(home, "token");
    writeFileSync(tokenFile, await provider.idToken(name), { mode: 0o600 });
    await custody([
      ...["login", gateway.url, "--ca-fingerprint", gateway.fingerprint],
      ...["--token-file", tokenFile],
    ]);
    return custody;
  };
  const engineer = await person("engineer");
  const operator = await person("operator");
  const ask = join(folder, "ask");
  writeFileSync(ask, '#!/bin/sh\nprintf "%s\\n" "$CUSTODY_TEST_SECRET"\n', { mode: 0o700 });
  const all = parts.move();
  return {
    ...{ folder, server, gateway, engineer, operator },
    home: (name) => join(folder, name),
    options: [
      ...["-F", "none", "-o", `UserKnownHostsFile=${knownHosts}`],
      ...["-o", "GlobalKnownHostsFile=none", "-o", "StrictHostKeyChecking=yes"],
      ...["-o", "NumberOfPasswordPrompts=1", "-o", "PubkeyAuthentication=no"],
      ...["-o", `Port=${port}`, "-o", "User=web-1"],
    ],
    async delegate(actor, actions, resources = "*") {
      const issued = await engineer([
        ...["delegate", "--actor", actor, "--target", "web-1", "--account", "deploy"],
        ...["--actions", actions, "--resources", resources, "--ttl", "1h", "--handle"],
      ]);
      return String((issued as { access_token: string }).access_token);
    },
    run: (handle, command, given = {}) =>
      runProgram(command, {
        ...given,
        env: {
          ...{ PATH: process.env.PATH ?? "", HOME: folder, LC_ALL: "C.UTF-8" },
          ...{ SSH_ASKPASS: ask, SSH_ASKPASS_REQUIRE: "force", CUSTODY_TEST_SECRET: handle },
          ...given.env,
        },
      }),
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  };
}

export async function runProgram(
  command: readonly string[],
  options: RunOptions & { readonly env: Readonly<Record<string, string>> },
): Promise<Ran> {
  const [program = "", ...args] = command;
  const child = spawn(program, args, {
    env: { ...options.env },
    stdio: ["pipe", "pipe", "pipe"],
    timeout: options.timeoutMs ?? 30_000,
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
  });
  child.stdin.on("error", () => undefined);
  child.stdin.end(options.input ?? "");
  const out: Buffer[] = [];
  const err: Buffer[] = [];
  child.stdout.on("data", (chunk: Buffer) => out.push(chunk));
  child.stderr.on("data", (chunk: Buffer) => err.push(chunk));
  const [code] = await once(child, "close");
  return {
    code: typeof code === "number" ? code : -1,
    stdout: Buffer.concat(out),
    stderr: Buffer.concat(err).toString("utf8"),
  };
}
