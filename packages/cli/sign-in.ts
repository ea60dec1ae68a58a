// A person signed in with an identity provider: the provider's ID token exchanged at the gateway, kept in
// a context, refreshed while the provider agrees, ended at both.

import { closeSync, openSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import { GRANT_TYPE_TOKEN_EXCHANGE, TOKEN_TYPE } from "@custody/contract/oauth.ts";
import type { ProviderView } from "@custody/contract/providers.ts";

import { createClient } from "./client.ts";
import type { ContextStore, StoredContext } from "./contexts.ts";
import { CliError } from "./faults.ts";
import { holderKeyOf } from "./invocation.ts";
import { type Io, oneLine } from "./output.ts";
import type { ProviderTokens } from "./provider-client.ts";

export interface SignedIn {
  readonly delegationId: string;
  readonly expiresAt: string;
  /** Where the secrets are kept, for people. */
  readonly kept: string;
}

export interface SignInPlace {
  readonly name: string;
  readonly url: string;
  readonly ca: string | null;
  /** Holders of keys below may sign children without asking the gateway. */
  readonly offlineChildren?: boolean;
}

/** A root for a provider's token, kept as a context. `signIn` undefined: it cannot be refreshed. */
export async function signInWith(
  contexts: ContextStore,
  io: Io,
  place: SignInPlace,
  subject: { readonly token: string; readonly type: string; readonly ttlSeconds?: number },
  signIn?: { readonly provider: ProviderView; readonly tokens: ProviderTokens },
): Promise<SignedIn> {
  const { name, url, ca } = place;
  const client = createClient({ url, ca, token: undefined, bindTo: holderKeyOf(io) });
  try {
    const answer = await client.call("token", {
      body: {
        grant_type: GRANT_TYPE_TOKEN_EXCHANGE,
        subject_token: subject.token,
        subject_token_type: subject.type,
        requested_token_type: TOKEN_TYPE.handle,
        ...(place.offlineChildren === true && { offline_children: "true" as const }),
        ...(subject.ttlSeconds !== undefined && { expires_in: String(subject.ttlSeconds) }),
      },
    });
    const expiresAt = new Date(io.nowMs() + answer.expires_in * 1000).toISOString();
    const kept = contexts.write(name, {
      url,
      ca,
      token: answer.access_token,
      delegationId: answer.delegation_id,
      signIn:
        signIn === undefined ? null : signInFor(io, signIn.provider, signIn.tokens, expiresAt),
    });
    return { delegationId: answer.delegation_id, expiresAt, kept };
  } finally {
    await client.close();
  }
}

function signInFor(
  io: Io,
  provider: ProviderView,
  { idToken, refreshToken }: ProviderTokens,
  expiresAt: string,
): NonNullable<StoredContext["signIn"]> {
  const leftMs = Date.parse(expiresAt) - io.nowMs();
  const refreshAt = new Date(io.nowMs() + leftMs / 2).toISOString();
  return { provider, refreshAt, expiresAt, refreshToken, idToken };
}

/**
 * Before a command uses a context: when half of the sign-in's time is over it is vouched for anew, with
 * the groups the provider names now. The same delegation goes on, so what was delegated lives; once it
 * has ended a new one takes its place. A provider that no longer agrees leaves the sign-in to its end.
 */
export async function refreshIfDue(contexts: ContextStore, io: Io, name: string): Promise<void> {
  if (!isDue(contexts.peek(name), io.nowMs())) return;
  const lock = join(contexts.directory, `contexts/${name}.refreshing`);
  // A refresh token that is used twice at once may be taken for a stolen one (RFC 9700 section 4.14.2).
  if (!(await take(lock, io))) return;
  try {
    const context = contexts.read(name);
    const refreshToken = context?.signIn?.refreshToken;
    if (context === undefined || refreshToken == null || !isDue(context, io.nowMs())) return;
    await refresh(contexts, io, name, context, refreshToken);
  } finally {
    rmSync(lock, { force: true });
  }
}

function isDue(context: StoredContext | undefined, nowMs: number): boolean {
  return (
    context?.delegationId != null &&
    context.signIn !== null &&
    Date.parse(context.signIn.refreshAt) <= nowMs
  );
}

async function refresh(
  contexts: ContextStore,
  io: Io,
  name: string,
  context: StoredContext,
  refreshToken: string,
): Promise<void> {
  const { signIn } = context;
  if (signIn === null || context.token === null || context.delegationId === null) return;
  const hasEnded = Date.parse(signIn.expiresAt) <= io.nowMs();
  try {
    const { openProviderClient } = await import("./provider-client.ts");
    await using provider = await openProviderClient(signIn.provider);
    const tokens = await provider.refresh(refreshToken);
    if (tokens === undefined) {
      contexts.write(name, { ...context, signIn: { ...signIn, refreshToken: null } });
      if (!hasEnded)
        io.stderr(`custody: ${signIn.provider.name} does not renew this sign-in any more\n`);
      return;
    }
    // First what must not be lost: the old refresh token may be spent.
    const { refreshToken: next, idToken } = tokens;
    contexts.write(name, { ...context, signIn: { ...signIn, refreshToken: next, idToken } });
    if (hasEnded) {
      const place = { name, url: context.url, ca: context.ca };
      const subject = { token: idToken, type: TOKEN_TYPE.idToken };
      await signInWith(contexts, io, place, subject, { provider: signIn.provider, tokens });
      return;
    }
    const { url, ca, token } = context;
    const client = createClient({ url, ca, token, key: holderKeyOf(io) });
    try {
      const { delegation } = await client.call("refreshDelegation", {
        params: { id: context.delegationId },
        body: { token: idToken },
      });
      contexts.write(name, {
        ...context,
        signIn: signInFor(io, signIn.provider, tokens, delegation.expiresAt),
      });
    } finally {
      await client.close();
    }
  } catch (error) {
    // What is still good is used; what has ended is told by the command itself.
    if (!(error instanceof CliError)) throw error;
    if (!hasEnded)
      io.stderr(`custody: the sign-in could not be refreshed: ${oneLine(error.message)}\n`);
  }
}

const LOCK_STALE_MS = 60_000;
const LOCK_WAIT_MS = 10_000;

/** false: another process does it just now, and had time to. */
async function take(lock: string, io: Io): Promise<boolean> {
  const until = io.nowMs() + LOCK_WAIT_MS;
  while (true) {
    try {
      closeSync(openSync(lock, "wx", 0o600));
      return true;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    }
    const since = statSync(lock, { throwIfNoEntry: false })?.mtimeMs ?? io.nowMs();
    if (io.nowMs() - since > LOCK_STALE_MS) rmSync(lock, { force: true });
    else if (io.nowMs() > until) return false;
    else await sleep(100);
  }
}
