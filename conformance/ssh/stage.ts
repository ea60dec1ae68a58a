// What the SSH suites run against: a real sshd that trusts the gateway's certificates and nothing else,
// an identity provider, and the gateway as `custody serve` runs it, with policies of the suite's own.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openSshKeys } from "@custody/gateway/credential/ssh-keys.ts";
import { publicLine } from "@custody/gateway/proxy/ssh/certificates.ts";
import { fingerprint, publicKeyBlob } from "@custody/wire/ssh/keys.ts";
import { runCustody } from "../support/command-line.ts";
import { startGateway, type TestGateway } from "../support/gateway.ts";
import { startOidcProvider, type TestOidcProvider } from "../support/oidc-provider.ts";
import { providerConfiguration } from "../support/provider-configuration.ts";
import { startSshServer, type TestSshServer } from "../support/ssh-server.ts";
import { forgeries } from "./forgeries.ts";

export type Custody = (args: readonly string[]) => Promise<unknown>;

export interface SshStage extends AsyncDisposable {
  readonly folder: string;
  readonly server: TestSshServer;
  readonly gateway: TestGateway;
  readonly provider: TestOidcProvider;
  readonly engineer: Custody;
  readonly operator: Custody;
  /** Folder of that person's command line. */
  home(name: string): string;
  /** `data`: an agent that may do the data actions. `person`: the engineer. */
  readonly handles: Readonly<Record<Who, string>>;
  ssh(who: Who, words: readonly string[], more?: ClientOptions): Promise<Ran>;
  /** Commands of sftp's batch mode. */
  sftp(who: Who, batch: readonly string[]): Promise<Ran>;
  scp(who: Who, words: readonly string[]): Promise<Ran>;
  /** The id of the next request that waits. */
  nextRequest(): Promise<string>;
  /** The operator decides on it. */
  approveNext(reason: string): Promise<void>;
  denyNext(reason: string): Promise<void>;
  /** Of the gateway's SSH door. */
  readonly port: string;
  /** `SHA256:…` */
  readonly hostKeyFingerprint: string;
  /** The command line as an agent: with a credential and a home of its own. */
  agent(handle: string, home: string, args: readonly string[]): Promise<unknown>;
  delegateWithId(actor: string): Promise<{ readonly id: string; readonly handle: string }>;
  /** Certificates of that key that nobody should take, by what is wrong with them. */
  forge(keyFile: string): Promise<Readonly<Record<string, string>>>;
  /** The lines of a recording, as the operator reads them. */
  replay(sessionId: string): Promise<readonly unknown[]>;
  /** A delegation of the engineer's, as a handle. */
  delegate(actor: string, actions: string, resources?: string): Promise<string>;
  /** Runs ssh or its kin with its password from a program, and the gateway in known_hosts. */
  run(handle: string, command: readonly string[], options?: RunOptions): Promise<Ran>;
  /** `-o` options for any of OpenSSH's clients. */
  readonly options: readonly string[];
}

export type Who = "data" | "person";

export interface ClientOptions extends RunOptions {
  readonly options?: readonly string[];
}

export interface RunOptions {
  /** Settles when the program has ended, whoever still holds its output. */
  readonly detached?: boolean;
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
  /** A grammar file of the gateway's, `grammars.yaml` in the stage's folder. */
  readonly grammars?: string;
  /** Of the gateway. */
  readonly env?: Readonly<Record<string, string>>;
  /** More of custody.yaml. */
  readonly more?: string;
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
  const grammars = join(folder, "grammars.yaml");
  if (options.grammars !== undefined) writeFileSync(grammars, options.grammars);
  const providerCa = join(folder, "provider-ca.pem");
  writeFileSync(providerCa, provider.ca);
  const gateway = parts.use(
    await startGateway({
      folder: gatewayFolder,
      ssh: true,
      sshKeysOf: data,
      ...(options.workers === undefined ? {} : { workers: options.workers }),
      ...(options.env === undefined ? {} : { env: options.env }),
      policies: {
        ...{ "agents.cedar": "", "guards.cedar": "", "people.cedar": "", "operators.cedar": "" },
        "suite.cedar": options.policies,
      },
      configuration: `
${providerConfiguration(provider, providerCa)}people:
  Erin Engineer: [corp/engineer]
  Olga Operator: [corp/operator]
targets:
  web-1:
    ssh:
      host: 127.0.0.1
      port: ${server.port}
      hostKeys: ["${server.hostKey}"]
      detect: { pii.card: card-number, pii.email: email }
      accounts:
        deploy:
          user: ${server.user}
          shell: ${options.shell ?? "bash"}
          holdToRun: true
          credential: { certificate: {} }
    tags: { env: test }
${options.grammars === undefined ? "" : `grammars: [${grammars}]\n`}limits: { holdWait: 40s, holdRepeat: 2s${options.limits ?? ""} }
${options.more ?? ""}`,
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
  const issue = async (actor: string, actions: string, resources: string) =>
    (await engineer([
      ...["delegate", "--actor", actor, "--target", "web-1", "--account", "deploy"],
      ...["--actions", actions, "--resources", resources, "--ttl", "1h", "--handle"],
    ])) as { access_token: string; delegation_id: string };
  const delegate: SshStage["delegate"] = async (actor, actions, resources = "*") =>
    (await issue(actor, actions, resources)).access_token;
  const run: SshStage["run"] = (secret, command, given = {}) =>
    runProgram(command, {
      ...given,
      env: {
        ...{ PATH: process.env.PATH ?? "", HOME: folder, LC_ALL: "C.UTF-8" },
        ...{ SSH_ASKPASS: ask, SSH_ASKPASS_REQUIRE: "force", CUSTODY_TEST_SECRET: secret },
        ...given.env,
      },
    });
  const clientOptions = [
    ...["-F", "none", "-o", `UserKnownHostsFile=${knownHosts}`, "-o", "BatchMode=no"],
    ...["-o", "GlobalKnownHostsFile=none", "-o", "StrictHostKeyChecking=yes"],
    ...["-o", "NumberOfPasswordPrompts=1", "-o", "PubkeyAuthentication=no"],
    ...["-o", `Port=${port}`, "-o", "User=web-1"],
  ];
  const handles = {
    data: await delegate("bot", "ssh:data"),
    person: String(((await engineer(["token"])) as { token?: string }).token ?? ""),
  };
  const all = parts.move();
  return {
    ...{ folder, server, gateway, provider, engineer, operator, delegate, run, handles },
    options: clientOptions,
    port: String(port),
    hostKeyFingerprint: fingerprint(publicKeyBlob(keys.host)),
    async delegateWithId(actor) {
      const issued = await issue(actor, "ssh:data", "*");
      return { id: issued.delegation_id, handle: issued.access_token };
    },
    async agent(handle, home, args) {
      const env = {
        ...{ CUSTODY_TOKEN: handle, CUSTODY_URL: gateway.url, CUSTODY_CA: gateway.caFile },
      };
      const ran = await runCustody([...args, "--json"], { home, env });
      if (ran.exitCode !== 0) throw new Error(`custody ${args[0]}: ${ran.stdout}${ran.stderr}`);
      return ran.json;
    },
    forge: (keyFile) => forgeries(folder, keyFile, keys),
    async replay(sessionId) {
      const ran = await runCustody(["replay", sessionId, "--json"], {
        home: join(folder, "operator"),
      });
      if (ran.exitCode !== 0) throw new Error(`custody replay: ${ran.stdout}${ran.stderr}`);
      return ran.lines;
    },
    home: (name) => join(folder, name),
    ssh: (who, words, { options: more = [], ...given } = {}) =>
      run(handles[who], ["ssh", ...more, ...clientOptions, "127.0.0.1", ...words], given),
    sftp: (who, batch) =>
      run(handles[who], ["sftp", ...clientOptions, "-b", "-", "127.0.0.1"], {
        input: `${batch.join("\n")}\n`,
      }),
    scp: (who, words) => run(handles[who], ["scp", ...clientOptions, ...words]),
    nextRequest: () => nextRequest(operator),
    approveNext: async (reason) => {
      await operator(["approve", await nextRequest(operator), "--reason", reason]);
    },
    denyNext: async (reason) => {
      await operator(["deny", await nextRequest(operator), "--reason", reason]);
    },
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  };
}

async function nextRequest(custody: Custody): Promise<string> {
  for (let tries = 0; tries < 100; tries += 1) {
    const { requests } = (await custody(["requests"])) as {
      requests: readonly { readonly id: string; readonly state: string }[];
    };
    const waiting = requests.find(({ state }) => state === "waiting");
    if (waiting !== undefined) return waiting.id;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error("no request waits");
}

export async function runProgram(
  command: readonly string[],
  options: RunOptions & { readonly env: Readonly<Record<string, string>> },
): Promise<Ran> {
  const [program = "", ...args] = command;
  const child = spawn(program, args, {
    env: { ...options.env },
    stdio: ["pipe", "pipe", "pipe"],
    detached: true,
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
  });
  // The whole group: what a shell started must not hold our pipes.
  const timer = setTimeout(() => kill(child.pid), options.timeoutMs ?? 120_000);
  child.stdin.on("error", () => undefined);
  child.stdin.end(options.input ?? "");
  const out: Buffer[] = [];
  const err: Buffer[] = [];
  child.stdout.on("data", (chunk: Buffer) => out.push(chunk));
  child.stderr.on("data", (chunk: Buffer) => err.push(chunk));
  const [code] = await once(child, options.detached === true ? "exit" : "close");
  clearTimeout(timer);
  return {
    code: typeof code === "number" ? code : -1,
    stdout: Buffer.concat(out),
    stderr: Buffer.concat(err).toString("utf8"),
  };
}

function kill(pid: number | undefined): void {
  try {
    if (pid !== undefined) process.kill(-pid, "SIGKILL");
  } catch {
    // It has ended by itself.
  }
}
