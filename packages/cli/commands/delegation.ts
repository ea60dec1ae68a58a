// Who one is, and delegating: whoami, chain, token, delegate, renew, revoke.

import type { DelegationView, Whoami } from "@custody/contract/delegations.ts";
import { GRANT_TYPE_TOKEN_EXCHANGE, TOKEN_TYPE } from "@custody/contract/oauth.ts";
import type { HopView } from "@custody/contract/shapes.ts";
import type { Command } from "commander";

import { drawTree } from "../chain-tree.ts";
import { replace } from "../contexts.ts";
import { CliError } from "../faults.ts";
import { describeGrant } from "../grant-text.ts";
import { type Invocation, invocationOf } from "../invocation.ts";
import { childOf, offlineChild, passwordOf } from "../key-delegation.ts";
import { facts, type Io, oneLine, type Palette, relative, table } from "../output.ts";
import { parseTtl, readToken } from "./login.ts";

interface DelegateOptions {
  readonly actor?: string;
  readonly actorTokenFile?: string;
  readonly target?: readonly string[];
  readonly account?: readonly string[];
  readonly actions?: readonly string[];
  readonly resources?: readonly string[];
  readonly unmask?: readonly string[];
  readonly maxRows?: string;
  readonly maxBytes?: string;
  readonly timeout?: string;
  readonly grant?: string;
  readonly ttl?: string;
  readonly handle?: boolean;
  readonly out?: string;
  readonly keyOut?: string;
  readonly offline?: boolean;
}

export function addDelegationCommands(program: Command, io: Io): void {
  program.commandsGroup("Delegating:");
  program
    .command("whoami")
    .description("who one is to the gateway, and through whom")
    .action(async (_options: unknown, command: Command) => whoami(invocationOf(command, io)));
  program
    .command("chain")
    .description("the tree around oneself: the chain above, what was delegated below, what is live")
    .argument("[delegation]", "show this delegation, d-…")
    .option("--all", "every delegation one may see, as a table")
    .action(async (id: string | undefined, options: { all?: boolean }, command: Command) => {
      const invocation = invocationOf(command, io);
      if (id !== undefined) await showDelegation(invocation, id);
      else if (options.all === true) await listAll(invocation);
      else await around(invocation);
    });
  program
    .command("token")
    .description("print the credential in use, for a client's password field")
    .option("--inspect", "print what it stands for instead (RFC 7662)")
    .addHelpText("after", "\nExamples:\n  PGPASSWORD=$(custody token) psql 'host=gw user=orders …'")
    .action(async (options: { inspect?: boolean }, command: Command) =>
      token(invocationOf(command, io), options.inspect === true),
    );
  addDelegate(program, io);
  program
    .command("renew")
    .description("extend a delegation, never past its parent; live sessions go on")
    .argument("[delegation]", "d-…; default: one's own")
    .option("--ttl <duration>", "from now; default: as long as it was given first")
    .action(async (id: string | undefined, options: { ttl?: string }, command: Command) =>
      renew(invocationOf(command, io), id, options.ttl),
    );
  program
    .command("revoke")
    .description("revoke a delegation: everything below it and its live sessions end at once")
    .argument("<delegation>", "d-…")
    .option("--reason <text>", "kept in the log")
    .action(async (id: string, options: { reason?: string }, command: Command) =>
      revoke(invocationOf(command, io), id, options.reason),
    );
}

function addDelegate(program: Command, io: Io): void {
  program
    .command("delegate")
    .description("make a narrower delegation for an agent and print its credential")
    .option("--actor <name>", "the agent's name, as people will read it")
    .option("--actor-token-file <file>", "the agent's own workload token: attested, not just named")
    .option("--target <names...>", "targets it may reach")
    .option("--account <names...>", "accounts of these targets")
    .option("--actions <names...>", "sql:read, sql:write, sql:select, …")
    .option("--resources <paths...>", "database/schema/table, or a prefix: shop/public/*")
    .option("--unmask <classes...>", "classes it may see unmasked")
    .option("--max-rows <count>", "rows of one answer, at most")
    .option("--max-bytes <count>", "bytes of one answer, at most")
    .option("--timeout <duration>", "time of one command, at most: 30s")
    .option(
      "--grant <file>",
      "the whole grant as JSON (authorization_details) instead; - reads stdin",
    )
    .option("--ttl <duration>", "how long it lives: 10m")
    .option("--handle", "print a short handle for password fields instead of a JWT")
    .option("--out <file>", "write the credential to this file (0600) instead of printing it")
    .option("--key-out <file>", "bind it to a new key, whose file the agent names in CUSTODY_KEY")
    .option("--offline", "sign it with CUSTODY_KEY and --key-out, without asking the gateway")
    .addHelpText(
      "after",
      `
A grant is never wider than one's own: what does not fit is refused and named. Several values are
separated by spaces or commas; quote a * from the shell. Only the credential goes to standard output.

Examples:
  custody delegate --actor reviewer --target orders --account ro \\
    --actions sql:read --resources 'shop/public/*' --ttl 10m --handle
  CUSTODY_TOKEN=$(custody delegate … ) agent        # an agent delegates on with its own`,
    )
    .action(async (options: DelegateOptions, command: Command) =>
      delegate(invocationOf(command, io), options),
    );
}

async function delegate(invocation: Invocation, options: DelegateOptions): Promise<void> {
  const { io } = invocation;
  ownToken(invocation);
  const details = await grantOf(invocation, options);
  const actor = await actorOf(invocation, options);
  const { keyOut, offline = false, ttl, out } = options;
  const asked = {
    actor,
    details,
    keyOut,
    ttlSeconds: ttl === undefined ? undefined : parseTtl(ttl),
  };
  if (offline) {
    signOffline(invocation, await offlineChild(invocation, asked), out);
    return;
  }
  const { subject, bindTo, statement } = await childOf(invocation, asked);
  const answer = await invocation.withClient(
    (client) =>
      client.call("token", {
        body: {
          grant_type: GRANT_TYPE_TOKEN_EXCHANGE,
          subject_token: subject,
          subject_token_type: typeOf(subject),
          ...actor,
          ...(statement !== undefined && { hop_statement: statement }),
          requested_token_type: options.handle === true ? TOKEN_TYPE.handle : TOKEN_TYPE.jwt,
          authorization_details: details,
          ...(options.ttl !== undefined && { expires_in: String(parseTtl(options.ttl)) }),
        },
      }),
    { bindTo },
  );
  const expiresAt = new Date(io.nowMs() + answer.expires_in * 1000).toISOString();
  const { access_token, ...rest } = answer;
  if (options.out !== undefined) replace(options.out, `${access_token}\n`);
  const value = {
    ...rest,
    ...(options.out === undefined ? { access_token } : { file: options.out }),
  };
  if (!invocation.json)
    io.stderr(
      facts(io, [
        ["delegation", answer.delegation_id],
        ["for", options.actor ?? "the holder of the actor token"],
        ["grant", describeGrant(answer.authorization_details ?? null)],
        ["expires", relative(expiresAt, io.nowMs())],
        ["written to", options.out],
      ]),
    );
  if (options.out === undefined || invocation.json)
    invocation.print(value, () => `${access_token}\n`);
}

function signOffline(invocation: Invocation, credential: string, out: string | undefined): void {
  if (out !== undefined) replace(out, `${credential}\n`);
  const value = out === undefined ? { access_token: credential } : { file: out };
  if (out === undefined || invocation.json) invocation.print(value, () => `${credential}\n`);
}

async function grantOf(invocation: Invocation, options: DelegateOptions): Promise<string> {
  if (options.grant !== undefined) {
    const text = await readToken(invocation, options.grant);
    try {
      return JSON.stringify(JSON.parse(text));
    } catch {
      throw new CliError("usage", `${options.grant} is not JSON`);
    }
  }
  const entry = {
    type: "custody",
    targets: words(options.target),
    accounts: words(options.account),
    actions: words(options.actions),
    resources: words(options.resources),
    unmask: words(options.unmask),
    limits: {
      ...(options.maxRows !== undefined && { max_rows: count(options.maxRows) }),
      ...(options.maxBytes !== undefined && { max_bytes: count(options.maxBytes) }),
      ...(options.timeout !== undefined && { timeout_ms: parseTtl(options.timeout) * 1000 }),
    },
  };
  for (const [option, values] of [
    ["--target", entry.targets],
    ["--account", entry.accounts],
    ["--actions", entry.actions],
    ["--resources", entry.resources],
  ] as const)
    if (values.length === 0)
      throw new CliError("usage", `${option} is needed: a grant names what it carries`, {
        hint: "custody delegate --help has an example",
      });
  return JSON.stringify([entry]);
}

async function actorOf(invocation: Invocation, options: DelegateOptions) {
  if (options.actorTokenFile !== undefined && options.actor === undefined) {
    const token = await readToken(invocation, options.actorTokenFile);
    return { actor_token: token.trim(), actor_token_type: TOKEN_TYPE.jwt };
  }
  if (options.actor !== undefined && options.actorTokenFile === undefined)
    return { actor_token: options.actor, actor_token_type: TOKEN_TYPE.agentName };
  throw new CliError("usage", "one of --actor and --actor-token-file is needed", {
    hint: "a delegation is always for somebody else: impersonation is refused",
  });
}

async function token(invocation: Invocation, inspect: boolean): Promise<void> {
  const credential = ownToken(invocation);
  if (!inspect) {
    const shown = await passwordOf(invocation, credential);
    invocation.print({ token: shown }, () => `${shown}\n`);
    return;
  }
  const answer = await invocation.withClient((client) =>
    client.call("introspect", { body: { token: credential } }),
  );
  invocation.print(answer, () =>
    facts(invocation.io, [
      ["active", answer.active ? "yes" : "no"],
      ["requestor", answer.sub],
      ["delegation", answer.delegation_id],
      ["grant", describeGrant(answer.authorization_details ?? null)],
      [
        "expires",
        answer.exp === undefined
          ? undefined
          : relative(new Date(answer.exp * 1000).toISOString(), invocation.io.nowMs()),
      ],
    ]),
  );
}

async function whoami(invocation: Invocation): Promise<void> {
  const answer = await invocation.withClient((client) => client.call("whoami"));
  invocation.print(answer, () => showWhoami(invocation, answer));
}

function showWhoami(invocation: Invocation, answer: Whoami): string {
  const { io, palette } = invocation;
  const { delegation, chain, person, administrator } = answer;
  const about = facts(io, [
    ["delegation", delegation.id],
    ["person", person ?? "not linked to a person, so it cannot approve"],
    ["administrator", administrator ? "yes" : undefined],
    ["groups", delegation.groups.join(", ")],
    ["grant", describeGrant(delegation.grant)],
    ["expires", relative(delegation.expiresAt, io.nowMs())],
    ["sessions", String(delegation.liveSessions)],
  ]);
  return `${showChain(palette, io.nowMs(), chain)}\n${about}`;
}

/** Root first, one hop a line, each further in. */
export function showChain(palette: Palette, nowMs: number, chain: readonly HopView[]): string {
  return chain
    .map((hop, depth) => {
      const id = oneLine(hop.id);
      const name = hop.kind === "agent" ? `${oneLine(hop.name)} ${palette.dim(id)}` : id;
      const known = `${hop.kind}, ${hop.provenance}, expires ${relative(hop.expiresAt, nowMs)}`;
      const lead = depth === 0 ? "" : `${"   ".repeat(depth - 1)}└─ `;
      return `${lead}${name}  ${palette.dim(known)}\n`;
    })
    .join("");
}

/** The chain on one line: `corp/ann@example.com > ci-job > reviewer`. */
export function chainLine(chain: readonly HopView[]): string {
  return chain.map((hop) => (hop.kind === "agent" ? hop.name : hop.id)).join(" > ");
}

async function showDelegation(invocation: Invocation, id: string): Promise<void> {
  const { io } = invocation;
  const one = await invocation.withClient((client) =>
    client.call("delegation", { params: { id } }),
  );
  invocation.print(one, () =>
    facts(io, [
      ["delegation", one.id],
      ["parent", one.parent ?? "none: it is the original requestor's"],
      ["root", one.root],
      ["name", one.name],
      ["known", `${one.kind}, ${one.provenance}`],
      ["status", one.status],
      ["grant", describeGrant(one.grant)],
      ["created", relative(one.createdAt, io.nowMs())],
      ["expires", relative(one.expiresAt, io.nowMs())],
      [
        "revoked",
        one.revokedAt === null
          ? undefined
          : `${relative(one.revokedAt, io.nowMs())} by ${one.revokedBy ?? "?"}`,
      ],
      ["reason", one.revokeReason ?? undefined],
      ["sessions", String(one.liveSessions)],
    ]),
  );
}

async function around(invocation: Invocation): Promise<void> {
  const [own, list, { sessions }] = await invocation.withClient((client) =>
    Promise.all([
      client.call("whoami"),
      client.call("delegations"),
      client.call("sessions", { query: { state: "live" } }),
    ]),
  );
  const { chain, delegation } = own;
  const delegations = subtreeOf(delegation.id, list.delegations);
  const ids = new Set(delegations.map((one) => one.id));
  const below = sessions.filter((one) => ids.has(one.delegationId));
  const { truncated } = list;
  const shown = { chain, own: delegation, delegations, sessions: below, truncated };
  invocation.print({ ...own, delegations, sessions: below, truncated }, () =>
    drawTree(invocation.io, shown),
  );
}

/** Parents come before their children; administrators are told of everybody's. */
function subtreeOf(id: string, delegations: readonly DelegationView[]): readonly DelegationView[] {
  const ids = new Set([id]);
  return delegations.filter((one) => {
    const within = ids.has(one.id) || (one.parent !== null && ids.has(one.parent));
    if (within) ids.add(one.id);
    return within;
  });
}

async function listAll(invocation: Invocation): Promise<void> {
  const { io, palette } = invocation;
  const list = await invocation.withClient((client) => client.call("delegations"));
  const least = Math.min(...list.delegations.map((one) => one.depth));
  invocation.print(list, () => {
    const rows = inTreeOrder(list.delegations);
    const text = table<DelegationView>(
      io,
      [
        { title: "DELEGATION", value: (row) => row.id },
        {
          title: "WHO",
          value: (row) =>
            `${"· ".repeat(row.depth - least)}${row.kind === "agent" ? row.name : row.actor}`,
          flexible: true,
        },
        {
          title: "STATUS",
          value: (row) => row.status,
          paint: (row) => (row.status === "active" ? palette.green : palette.dim),
        },
        { title: "EXPIRES", value: (row) => relative(row.expiresAt, io.nowMs()) },
        { title: "LIVE", value: (row) => String(row.liveSessions) },
        { title: "GRANT", value: (row) => describeGrant(row.grant), flexible: true },
      ],
      rows,
    );
    return list.truncated
      ? `${text}${palette.dim("there are more than the gateway lists")}\n`
      : text;
  });
}

function inTreeOrder(delegations: readonly DelegationView[]): readonly DelegationView[] {
  const ids = new Set(delegations.map((one) => one.id));
  const children = Map.groupBy(delegations, (one) =>
    one.parent !== null && ids.has(one.parent) ? one.parent : null,
  );
  const below = (parent: string | null): DelegationView[] =>
    (children.get(parent) ?? []).flatMap((one) => [one, ...below(one.id)]);
  return below(null);
}

async function renew(
  invocation: Invocation,
  given: string | undefined,
  ttl: string | undefined,
): Promise<void> {
  const { io } = invocation;
  const answer = await invocation.withClient(async (client) => {
    const id = given ?? (await client.call("whoami")).delegation.id;
    const body = ttl === undefined ? {} : { expiresIn: parseTtl(ttl) };
    return client.call("renewDelegation", { params: { id }, body });
  });
  const { delegation, accessToken } = answer;
  if (accessToken !== undefined && !invocation.json) io.stdout(`${accessToken}\n`);
  const text = facts(io, [
    ["renewed", delegation.id],
    ["expires", relative(delegation.expiresAt, io.nowMs())],
    ["renewable until", relative(delegation.renewableUntil, io.nowMs())],
  ]);
  if (invocation.json) invocation.print(answer, () => "");
  else io.stderr(text);
}

async function revoke(
  invocation: Invocation,
  id: string,
  reason: string | undefined,
): Promise<void> {
  const answer = await invocation.withClient((client) =>
    client.call("revokeDelegation", {
      params: { id },
      body: reason === undefined ? {} : { reason },
    }),
  );
  invocation.print(answer, () =>
    facts(invocation.io, [
      ["revoked", answer.delegation.id],
      ["delegations", `${answer.revoked} ended, itself included`],
      ["sessions", `${answer.sessionsEnded} ended`],
    ]),
  );
}

export function ownToken(invocation: Invocation): string {
  const gateway = invocation.gateway();
  if (gateway.token !== undefined) return gateway.token;
  throw new CliError("unauthenticated", "nobody is signed in here", {
    hint: `custody login ${gateway.url}, or CUSTODY_TOKEN in the environment`,
  });
}

export function typeOf(credential: string): string {
  return credential.startsWith("cst_") ? TOKEN_TYPE.handle : TOKEN_TYPE.jwt;
}

export function words(values: readonly string[] = []): string[] {
  return values.flatMap((value) => value.split(",")).filter((value) => value !== "");
}

function count(text: string): number {
  if (/^[1-9][0-9]{0,14}$/.test(text)) return Number(text);
  throw new CliError("usage", `"${text}" is not a count`);
}
