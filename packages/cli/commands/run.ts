// `custody run`: a program started as a nested agent. It gets a delegation of its own, narrower than
// the one in use here and bound to a fresh key, in the environment its clients already read; it gets none
// of our secrets, and when it ends its delegation does too. Its databases are behind a listener of its own
// (agent-door.ts) that opens to its password alone. Inside it the same command narrows further, because
// the CUSTODY_TOKEN and CUSTODY_KEY there are the agent's.

import { copyFileSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";

import type { TargetView, Whoami } from "@custody/contract/delegations.ts";
import type { ResponseOf } from "@custody/contract/endpoints.ts";
import {
  GRANT_TYPE_TOKEN_EXCHANGE,
  TOKEN_TYPE,
  type TokenResponse,
} from "@custody/contract/oauth.ts";
import type { Command } from "commander";

import { openDoor } from "../agent-door.ts";
import {
  type AgentConnection,
  agentVariables,
  inheritedEnvironment,
  passwordLine,
} from "../agent-environment.ts";
import { relaySignals, type SignalRelay } from "../agent-program.ts";
import { type Client, createClient } from "../client.ts";
import { CliError } from "../faults.ts";
import { type HolderKey, presented } from "../holder-key.ts";
import { type Gateway, type Invocation, invocationOf } from "../invocation.ts";
import { keepAlive } from "../keep-alive.ts";
import { childOf } from "../key-delegation.ts";
import { type Io, oneLine, span } from "../output.ts";
import { findBubblewrap, openSandbox, type Sandbox } from "../sandbox.ts";
import { refreshIfDue } from "../sign-in.ts";
import { ownToken, typeOf, words } from "./delegation.ts";
import { kubeconfigOf } from "./kubernetes.ts";
import { parseTtl } from "./login.ts";
import { prepareSsh, type SshHolder, writeSshPrograms } from "./ssh.ts";
import { hostOf, postgresAddress } from "./targets.ts";

interface RunOptions {
  readonly target: readonly string[];
  readonly resources?: readonly string[];
  readonly unmask?: readonly string[];
  readonly database?: string;
  readonly name?: string;
  readonly ttl?: string;
  readonly renew: boolean;
  readonly why?: string;
  readonly keepEnv?: readonly string[];
  readonly quiet?: boolean;
  readonly sandbox?: boolean;
  readonly direct?: boolean;
  readonly readable?: readonly string[];
  readonly writable?: readonly string[];
}

/** What `--target orders/app:read,write` says. */
interface Wanted {
  readonly target: string;
  readonly account: string | undefined;
  readonly actions: readonly string[];
}

const DEFAULT_TTL = "10m";
const MAX_WHY_LENGTH = 1000;
/** By shells' convention; see env(1). */
const CANNOT_START = 127;

/** `passedOn`: the program and its arguments, what came after `--`. */
export function addRunCommand(program: Command, io: Io, passedOn: readonly string[]): void {
  program
    .command("run")
    .description("start a program as an agent with a narrower delegation of its own")
    .requiredOption(
      "--target <what...>",
      "target[/account]:actions, as orders:read or orders/app:read,write",
    )
    .option(
      "--resources <paths...>",
      "database/schema/table, or a prefix; default: all one has there",
    )
    .option("--unmask <classes...>", "classes it may see unmasked")
    .option("--database <name>", "PGDATABASE; default: the target's only one")
    .option("--name <name>", "the agent's name, as people will read it; default: the program's")
    .option("--ttl <duration>", `how long it lives without us; default: ${DEFAULT_TTL}`)
    .option("--no-renew", "end with the time of --ttl, even when the program still runs")
    .option("--why <text>", "the reason approvers see, for each of its sessions")
    .option("--keep-env <names...>", "variables to pass on though they look like secrets")
    .option("--quiet", "do not print what it was given")
    .option(
      "--direct",
      "a credential without a key, good at the gateway itself: for what outlives us or runs elsewhere",
    )
    .option("--sandbox", "confine it by bubblewrap: nothing to write, no way out but the gateway")
    .option("--readable <folders...>", "with --sandbox: show these of what is hidden")
    .option("--writable <folders...>", "with --sandbox: let it write there")
    .usage("[options] -- program [arguments]")
    .addHelpText("after", HELP)
    .action(async (options: RunOptions, command: Command) =>
      run(invocationOf(command, io), options, passedOn),
    );
}

const HELP = `
The program finds the gateway by PGHOST, PGPORT, PGUSER, PGPASSFILE, PGSSLMODE, PGSSLROOTCERT (of the
first --target) and by CUSTODY_URL, CUSTODY_CA, CUSTODY_TOKEN, CUSTODY_KEY. PGHOST and PGPORT are a
listener on loopback that is the program's alone: its password is good there and nowhere else. Where there
are SSH targets, ssh, scp and sftp (and with them git, rsync, ansible) know them by name; KUBECONFIG has the
clusters among its targets. What looks like a secret in our own environment is left out. While it runs the
delegation is renewed as far as the one above allows; when it ends, so does the delegation. Signals are passed on, and the exit code is the program's.

Examples:
  custody run --target orders:read --ttl 10m --name reviewer -- psql -c 'select count(*) from orders'
  custody run --target orders/app:read,write --resources 'shop/public/*' --why 'ticket 4711' -- ./job
  custody run --target orders:read --sandbox --writable ./out -- ./agent`;

async function run(
  invocation: Invocation,
  options: RunOptions,
  [program, ...args]: readonly string[],
): Promise<void> {
  if (program === undefined)
    throw new CliError("usage", "which program?", {
      hint: "custody run --target orders:read -- program arguments",
    });
  const wanted = options.target.map(parseTarget);
  const why = justificationOf(options.why ?? invocation.io.environment.CUSTODY_JUSTIFICATION);
  const inherited = inheritedEnvironment(invocation.io.environment, words(options.keepEnv));
  const bubblewrap =
    options.sandbox === true ? findBubblewrap(invocation.io.environment.PATH) : undefined;
  if (bubblewrap === undefined && (options.readable ?? options.writable) !== undefined)
    throw new CliError("usage", "--readable and --writable are for --sandbox");
  ownToken(invocation);
  const gateway = invocation.gateway();
  const client = createClient(gateway);
  try {
    using signals = relaySignals();
    const name = options.name ?? agentName(program);
    using folder = privateFolder(invocation.io.environment);
    const keyFile = options.direct === true ? undefined : join(folder.path, "key.pem");
    const agent = await delegateTo(invocation, client, { ...options, name, wanted, keyFile });
    await using lease = keepAlive({
      client,
      nowMs: invocation.io.nowMs,
      delegationId: agent.issued.delegation_id,
      lifeMs: agent.issued.expires_in * 1000,
      renews: options.renew,
      carryOnAbove: () => carryOn(invocation, gateway),
      warn: (text) => invocation.io.stderr(`custody run: ${oneLine(text)}\n`),
    });
    await using place = await preparePlace(invocation, gateway, agent, {
      ...options,
      directory: folder.path,
      bubblewrap,
      why,
    });
    if (options.quiet !== true) announce(invocation, name, agent, inherited.leftOut);
    const env = { ...inherited.variables, ...place.variables };
    const code = await start(invocation, signals, { program, args, env, sandbox: place.sandbox });
    lease.ended();
    if (code !== 0) invocation.exit(code);
  } finally {
    await client.close();
  }
}

/** A sign-in that a program outlives is refreshed as it would be by the next command. */
async function carryOn({ contexts, io }: Invocation, gateway: Gateway): Promise<void> {
  const { contextName } = gateway;
  if (contextName === undefined || io.environment.CUSTODY_TOKEN !== undefined) return;
  try {
    await refreshIfDue(contexts, io, contextName);
  } catch (error) {
    const said = error instanceof Error ? error.message : String(error);
    io.stderr(`custody run: ${oneLine(`the sign-in could not be refreshed: ${said}`)}\n`);
  }
}

async function start(
  invocation: Invocation,
  signals: SignalRelay,
  given: {
    readonly program: string;
    readonly args: readonly string[];
    readonly env: NodeJS.ProcessEnv;
    readonly sandbox: Sandbox | undefined;
  },
): Promise<number> {
  const { program, args, env, sandbox } = given;
  if (sandbox !== undefined) {
    const [first, ...rest] = sandbox.command(program, args);
    return signals.run({ program: first, args: rest, env, signals: "pipe" });
  }
  try {
    return await signals.run({ program, args, env, signals: "process" });
  } catch (error) {
    const said = error instanceof Error ? error.message : String(error);
    invocation.io.stderr(`custody: ${oneLine(`${program} cannot be started: ${said}`)}\n`);
    return CANNOT_START;
  }
}

// --- what it may do ---

interface GrantedTarget {
  readonly target: TargetView;
  readonly account: string;
}

interface Agent {
  readonly issued: TokenResponse;
  /** undefined: whoever shows the credential may use it. */
  readonly key: { readonly file: string; readonly holder: HolderKey } | undefined;
  readonly first: GrantedTarget;
  /** The targets it was given, in the order they were named. */
  readonly places: readonly GrantedTarget[];
  readonly list: ResponseOf<"targets">;
}

async function delegateTo(
  invocation: Invocation,
  client: Client,
  options: RunOptions & {
    readonly name: string;
    readonly wanted: readonly Wanted[];
    readonly keyFile: string | undefined;
  },
): Promise<Agent> {
  const [own, list] = await Promise.all([client.call("whoami"), client.call("targets")]);
  const places = options.wanted.map((one) => placeOf(one, list, own));
  const [first] = places;
  if (first === undefined) throw new CliError("usage", "--target is needed");
  const grant = places.map(({ target, account, actions }) => ({
    type: "custody" as const,
    targets: [target.name],
    accounts: [account],
    actions,
    resources: resourcesOf(options.resources, own, target.name, account),
    unmask: words(options.unmask),
    limits: {},
  }));
  const actor = { actor_token: options.name, actor_token_type: TOKEN_TYPE.agentName };
  const details = JSON.stringify(grant);
  const { keyFile } = options;
  const ttlSeconds = secondsOf(options.ttl, own, invocation.io.nowMs());
  // What is signed about it bounds its renewals.
  const asked = { actor, details, keyOut: keyFile, ttlSeconds, renewable: options.renew };
  const { subject, bindTo, statement } = await childOf(invocation, asked);
  const issued = await invocation.withClient(
    (binding) =>
      binding.call("token", {
        body: {
          grant_type: GRANT_TYPE_TOKEN_EXCHANGE,
          subject_token: subject,
          subject_token_type: typeOf(subject),
          ...actor,
          ...(statement !== undefined && { hop_statement: statement }),
          requested_token_type: TOKEN_TYPE.handle,
          authorization_details: details,
          expires_in: String(ttlSeconds),
        },
      }),
    { bindTo },
  );
  const key =
    keyFile === undefined || bindTo === undefined ? undefined : { file: keyFile, holder: bindTo };
  return { issued, key, first, places, list };
}

function parseTarget(text: string): Wanted {
  const match = /^([a-z0-9-]+)(?:\/([a-z0-9-]+))?:([a-z0-9_:*,]+)$/.exec(text);
  const actions = words([match?.[3] ?? ""]);
  if (match?.[1] === undefined || actions.length === 0)
    throw new CliError("usage", `--target ${text} does not say what and how`, {
      hint: "target[/account]:actions, as orders:read or orders/app:read,write",
    });
  return {
    target: match[1],
    account: match[2],
    actions,
  };
}

function placeOf(wanted: Wanted, list: ResponseOf<"targets">, own: Whoami) {
  const target = list.targets.find((one) => one.name === wanted.target);
  if (target === undefined)
    throw new CliError("refused", `there is no target ${wanted.target} for this delegation`, {
      code: "not_found",
      hint: `there are: ${list.targets.map((one) => one.name).join(", ") || "none"}`,
    });
  const granted = target.accounts.filter(
    (account) => grantsFor(own, target.name, account) !== none,
  );
  const account = wanted.account ?? (granted.length === 1 ? granted[0] : target.defaultAccount);
  if (account === null || account === undefined)
    throw new CliError("usage", `${target.name} has several accounts; name one`, {
      hint: target.accounts.map((one) => `--target ${target.name}/${one}:…`).join("  or  "),
    });
  const prefix = ACTION_PREFIX[target.protocol];
  const actions = wanted.actions.map((action) =>
    action.includes(":") ? action : `${prefix}:${action}`,
  );
  return { target, account, actions };
}

const ACTION_PREFIX: Readonly<Record<TargetView["protocol"], string>> = {
  postgres: "sql",
  ssh: "ssh",
  kubernetes: "k8s",
};

const none: readonly string[] = [];

/** Resources of one's own grant on that account; "*" for a root, `none` when it carries nothing there. */
function grantsFor(own: Whoami, target: string, account: string): readonly string[] {
  const { grant } = own.delegation;
  if (grant === null) return ["*"];
  const entries = grant.filter(
    (entry) => matches(entry.targets, target) && matches(entry.accounts, account),
  );
  const paths = new Set(entries.flatMap((entry) => texts(entry.resources)));
  return paths.size === 0 ? none : [...paths];
}

function resourcesOf(
  asked: readonly string[] | undefined,
  own: Whoami,
  target: string,
  account: string,
): readonly string[] {
  if (asked !== undefined) return words(asked);
  const granted = grantsFor(own, target, account);
  // The gateway refuses it and says what does not fit.
  return granted === none ? ["*"] : granted;
}

function matches(patterns: unknown, value: string): boolean {
  return texts(patterns).some((one) =>
    one.endsWith("*") ? value.startsWith(one.slice(0, -1)) : one === value,
  );
}

function texts(value: unknown): readonly string[] {
  return Array.isArray(value) ? value.filter((one) => typeof one === "string") : [];
}

/** What is asked for; where nothing was, no more than is left above. */
function secondsOf(ttl: string | undefined, own: Whoami, nowMs: number): number {
  if (ttl !== undefined) return parseTtl(ttl);
  return Math.max(1, Math.min(parseTtl(DEFAULT_TTL), secondsLeft(own, nowMs)));
}

function secondsLeft(own: Whoami, nowMs: number): number {
  return Math.floor((Date.parse(own.delegation.expiresAt) - nowMs) / 1000) - 1;
}

/** The program's file name, as far as it can be an agent's. */
function agentName(program: string): string {
  const name = basename(program)
    .replaceAll(/[^A-Za-z0-9 ._:-]/g, "-")
    .slice(0, 64)
    .replace(/^[^A-Za-z0-9]+/, "")
    .replace(/[^A-Za-z0-9]+$/, "");
  return name === "" ? "agent" : name;
}

function justificationOf(text: string | undefined): string | undefined {
  if (text === undefined || text === "") return undefined;
  if (text.length > MAX_WHY_LENGTH || /\p{Cc}/u.test(text))
    throw new CliError("usage", `--why is one line of at most ${MAX_WHY_LENGTH} characters`);
  return text;
}

// --- what it finds ---

interface Place extends AsyncDisposable {
  readonly variables: Readonly<Record<string, string>>;
  readonly sandbox: Sandbox | undefined;
}

/** A folder of its own, that only this user reads; gone afterwards. */
function privateFolder(environment: Io["environment"]): Disposable & { readonly path: string } {
  const path = mkdtempSync(join(privateRoot(environment), "custody-run-"));
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true }) };
}

/** The files its clients want, and the ways they go. */
async function preparePlace(
  invocation: Invocation,
  gateway: Gateway,
  agent: Agent,
  options: Omit<RunOptions, "why"> & {
    readonly directory: string;
    readonly bubblewrap: string | undefined;
    readonly why: string | undefined;
  },
): Promise<Place> {
  await using stack = new AsyncDisposableStack();
  const { environment } = invocation.io;
  const { bubblewrap, directory } = options;
  const home = join(directory, "home");
  mkdirSync(home, { mode: 0o700 });
  const caFile = gateway.caFile === undefined ? undefined : join(directory, "ca.pem");
  if (gateway.caFile !== undefined && caFile !== undefined) copyFileSync(gateway.caFile, caFile);
  const url = new URL(gateway.url);
  const outside = { host: hostOf(gateway), port: Number(url.port || 443) };
  const behind = await postgresDoor(gateway, agent, stack);
  const sandbox =
    bubblewrap === undefined
      ? undefined
      : stack.use(
          await openSandbox({
            bubblewrap,
            directory,
            gateway: outside,
            postgres: behind,
            hidden: [
              invocation.contexts.directory,
              ...(environment.HOME ? [environment.HOME] : []),
            ],
            workingDirectory: process.cwd(),
            readable: options.readable ?? [],
            writable: options.writable ?? [],
          }),
        );
  url.port = String(sandbox?.gateway.port ?? outside.port);
  const variables = agentVariables(
    {
      url: url.origin,
      token: agent.issued.access_token,
      keyFile: agent.key?.file,
      caFile,
      justification: options.why,
      postgres:
        behind === undefined
          ? undefined
          : postgresOf({ ...behind, ...sandbox?.postgres }, agent, {
              ...{ directory, caFile, database: options.database },
            }),
    },
    environment.PGOPTIONS,
  );
  const programs =
    sandbox === undefined
      ? {
          ...(await sshPrograms(invocation, gateway, agent, directory, home)),
          ...kubernetesConfig(gateway, agent, directory),
        }
      : {};
  const kept = stack.move();
  return {
    // No context of ours: `custody` in there acts with its own token or not at all.
    variables: {
      ...variables,
      ...programs,
      CUSTODY_HOME: home,
      ...(sandbox && { TMPDIR: "/tmp" }),
    },
    sandbox,
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  };
}

/** ssh, scp and sftp that find the targets by their names, with certificates of the agent's own. */
async function sshPrograms(
  invocation: Invocation,
  gateway: Gateway,
  { issued, key, list }: Agent,
  directory: string,
  home: string,
): Promise<Readonly<Record<string, string>>> {
  const hasHosts = list.targets.some(({ protocol }) => protocol === "ssh");
  if (!hasHosts || list.listeners.ssh === undefined) return {};
  const own = {
    ...gateway,
    ...{ contextName: undefined, token: issued.access_token, key: key?.holder },
  };
  const holder: SshHolder = {
    gateway: () => own,
    nowMs: invocation.io.nowMs,
    async withClient(use) {
      const client = createClient(own);
      try {
        return await use(client);
      } finally {
        await client.close();
      }
    },
  };
  const { config } = await prepareSsh(holder, home, join(home, "ssh", "environment"));
  const bin = join(directory, "bin");
  const path = invocation.io.environment.PATH ?? "/usr/bin:/bin";
  writeSshPrograms(bin, config, path);
  return { PATH: `${bin}:${path}` };
}

/** kubectl, helm and every client library find the agent's clusters, and ask `custody` for its credential. */
function kubernetesConfig(
  gateway: Gateway,
  { list, places }: Agent,
  directory: string,
): Readonly<Record<string, string>> {
  const { kubernetes } = list.listeners;
  const targets = places
    .filter(({ target }) => target.protocol === "kubernetes")
    .map(({ account, target }) => `${account}~${target.name}`);
  if (kubernetes === undefined || targets.length === 0) return {};
  const own = { ...gateway, contextName: undefined };
  const config = kubeconfigOf({
    ...{ gateway: own, listener: kubernetes, targets },
    program: [process.execPath, fileURLToPath(new URL("../bin/custody.mjs", import.meta.url))],
  });
  const file = join(directory, "kubeconfig");
  writeFileSync(file, JSON.stringify(config, null, 2), { mode: 0o600 });
  return { KUBECONFIG: file };
}

/** The session's own folder where there is one: it is in memory, and goes with the session. */
function privateRoot(environment: Io["environment"]): string {
  const { XDG_RUNTIME_DIR } = environment;
  return XDG_RUNTIME_DIR !== undefined && existsSync(XDG_RUNTIME_DIR) ? XDG_RUNTIME_DIR : tmpdir();
}

/** Where PostgreSQL is for the agent, and what opens it there. */
interface Behind {
  readonly host: string;
  readonly port: number;
  readonly password: string;
  /** PEM of a CA other than the gateway's. */
  readonly ca: string | undefined;
}

/** undefined: the gateway does not listen for PostgreSQL. */
async function postgresDoor(
  gateway: Gateway,
  agent: Agent,
  stack: AsyncDisposableStack,
): Promise<Behind | undefined> {
  const address = postgresAddress(gateway, agent.list);
  const { key, issued } = agent;
  if (address === undefined) return undefined;
  if (key === undefined) return { ...address, password: issued.access_token, ca: undefined };
  const client = createClient({ ...gateway, token: undefined, key: undefined });
  stack.defer(() => client.close());
  const { issuer } = await client.call("metadata");
  const credential = async () => presented(key.holder, issued.access_token, issuer, Date.now());
  const door = stack.use(await openDoor({ gateway: address, ca: gateway.ca, credential }));
  const { host, port, password, ca } = door;
  return { host, port, password, ca };
}

function postgresOf(
  { host, port, password, ca }: Behind,
  agent: Agent,
  given: {
    readonly directory: string;
    readonly caFile: string | undefined;
    readonly database: string | undefined;
  },
): AgentConnection["postgres"] {
  const passwordFile = join(given.directory, "pgpass");
  writeFileSync(passwordFile, passwordLine(host, port, password), { mode: 0o600 });
  const caFile = ca === undefined ? given.caFile : join(given.directory, "postgres-ca.pem");
  if (ca !== undefined && caFile !== undefined) writeFileSync(caFile, ca);
  const { target, account } = agent.first;
  const only = target.databases?.length === 1 ? target.databases[0] : undefined;
  const database = given.database ?? only;
  return { host, port, user: `${account}~${target.name}`, database, passwordFile, caFile };
}

function announce(
  invocation: Invocation,
  name: string,
  { issued, first }: Agent,
  leftOut: readonly string[],
): void {
  const secrets = leftOut.filter((one) => !/^(CUSTODY_|PG)/.test(one));
  const without = secrets.length === 0 ? "" : `; left out: ${secrets.join(", ")}`;
  const text = `${name} is ${issued.delegation_id} on ${first.account}~${first.target.name}, for ${span(issued.expires_in * 1000)}${without}`;
  invocation.io.stderr(invocation.palette.dim(`custody run: ${oneLine(text)}\n`));
}
