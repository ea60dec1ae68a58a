// Delegating with a key: the statement that a parent signs about its child, asked for at the gateway or
// signed without asking, and the password that a delegation with a key has for a while.

import { TOKEN_TYPE } from "@custody/contract/oauth.ts";
import type { Command } from "commander";

import { CliError } from "./faults.ts";
import {
  digest,
  type HolderKey,
  makeHolderKey,
  presented,
  type StatedParent,
  stateChild,
  statedLeaf,
} from "./holder-key.ts";
import { type Invocation, invocationOf } from "./invocation.ts";
import { facts, type Io } from "./output.ts";

export interface AskedChild {
  /** As the token endpoint takes it. */
  readonly actor: { readonly actor_token: string; readonly actor_token_type: string };
  /** authorization_details, JSON text. */
  readonly details: string;
  /** A file for the child's new key; undefined: it is a bearer. */
  readonly keyOut: string | undefined;
  readonly ttlSeconds: number | undefined;
  /** It is stated to live as long as its parent may be renewed, whatever its own time is. */
  readonly renewable?: boolean;
}

export interface Child {
  readonly subject: string;
  readonly bindTo: HolderKey | undefined;
  readonly statement: string | undefined;
}

/** Of a statement whose time nobody named. */
const DEFAULT_SECONDS = 3600;

export function addKeyCommand(program: Command, io: Io): void {
  program
    .command("key")
    .description("make a key that delegations can be bound to; name its file in CUSTODY_KEY")
    .argument("<file>", "PKCS #8, readable by you only; one that is there is replaced")
    .action((file: string, _options: unknown, command: Command) => {
      const { jwk } = makeHolderKey(file);
      invocationOf(command, io).print({ file, jwk }, () => facts(io, [["key", file]]));
    });
}

/** What the token endpoint is shown for a child of one's own. */
export async function childOf(invocation: Invocation, asked: AskedChild): Promise<Child> {
  const token = tokenOf(invocation);
  const { key } = invocation.gateway();
  const bindTo = asked.keyOut === undefined ? undefined : makeHolderKey(asked.keyOut);
  if (key === undefined) return { subject: token, bindTo, statement: undefined };
  const { parent, issuer } = await placeOf(invocation, token);
  const statement = state(key, issuer, parent, asked, bindTo);
  // Statements are no secret: as a subject they are shown with a proof.
  const isSigned = statedLeaf(token) !== undefined;
  const subject = isSigned ? presented(key, token, issuer, Date.now()) : token;
  return { subject, bindTo, statement };
}

/** A child that the gateway is told of when it is first used; the credential is no secret, its key is. */
export async function offlineChild(invocation: Invocation, asked: AskedChild): Promise<string> {
  const { key } = invocation.gateway();
  if (key === undefined || asked.keyOut === undefined)
    throw new CliError(
      "usage",
      "--offline needs your key in CUSTODY_KEY and --key-out for the child",
      {
        hint: "custody key FILE, then custody login --offline-children with it",
      },
    );
  if (asked.actor.actor_token_type !== TOKEN_TYPE.agentName)
    throw new CliError("usage", "--offline is for a named agent: --actor");
  const token = tokenOf(invocation);
  const { parent, issuer } = await placeOf(invocation, token);
  const child = makeHolderKey(asked.keyOut);
  const statement = state(key, issuer, parent, asked, child);
  return statedLeaf(token) === undefined ? statement : `${token}~${statement}`;
}

/** For a password field: the credential itself, or with a presentation where it is bound to a key. */
export async function passwordOf(invocation: Invocation, credential: string): Promise<string> {
  const { key } = invocation.gateway();
  if (key === undefined) return credential;
  const issuer = statedLeaf(credential)?.issuer ?? (await issuerOf(invocation));
  return presented(key, credential, issuer, Date.now());
}

function state(
  key: HolderKey,
  issuer: string,
  parent: StatedParent,
  asked: AskedChild,
  child: HolderKey | undefined,
): string {
  const { actor_token: shown, actor_token_type: type } = asked.actor;
  const actor = type === TOKEN_TYPE.agentName ? { name: shown } : { token_hash: digest(shown) };
  const grant: unknown = JSON.parse(asked.details);
  const nowMs = Date.now();
  const left = parent.expiresAt - Math.ceil(nowMs / 1000);
  if (asked.renewable === true && parent.renewableUntil !== undefined) {
    const ttlSeconds = parent.renewableUntil - Math.ceil(nowMs / 1000);
    return stateChild(key, issuer, parent, { actor, grant, key: child, ttlSeconds }, nowMs);
  }
  const ttlSeconds = asked.ttlSeconds ?? Math.min(DEFAULT_SECONDS, left);
  if (ttlSeconds > left)
    throw new CliError("refused", `--ttl ${ttlSeconds}s is more than the ${left}s you have left`, {
      hint: "a shorter --ttl, or ask who delegated to you for longer",
    });
  return stateChild(key, issuer, parent, { actor, grant, key: child, ttlSeconds }, nowMs);
}

/** A chain signed offline says itself where it ends; of another credential the gateway is asked. */
async function placeOf(
  invocation: Invocation,
  token: string,
): Promise<{ readonly parent: StatedParent; readonly issuer: string }> {
  const stated = statedLeaf(token);
  if (stated !== undefined) return stated;
  return invocation.withClient(async (client) => {
    const { issuer } = await client.call("metadata");
    const { delegation } = await client.call("whoami");
    const { id, root, depth } = delegation;
    const expiresAt = Math.floor(Date.parse(delegation.expiresAt) / 1000);
    const { statement } = await client.call("delegation", { params: { id } });
    const renewableUntil = Math.floor(Date.parse(delegation.renewableUntil) / 1000);
    return { parent: { id, root, depth, statement, expiresAt, renewableUntil }, issuer };
  });
}

async function issuerOf(invocation: Invocation): Promise<string> {
  const { issuer } = await invocation.withClient((client) => client.call("metadata"));
  return issuer;
}

function tokenOf(invocation: Invocation): string {
  const { token, url } = invocation.gateway();
  if (token !== undefined) return token;
  throw new CliError("unauthenticated", "nobody is signed in here", {
    hint: `custody login ${url}, or CUSTODY_TOKEN in the environment`,
  });
}
