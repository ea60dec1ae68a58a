// What providers vouched for, kept as long as it matters: which delegation came of which of their
// tokens and sessions, so that a session ended there ends here; which tokens were spent; and which
// sessions have ended, so that a token made before does not open a new one.
//
// All times compared are the provider's own (`iat`), so that two clocks need not agree. Owns no state
// but the store's.

import { GatewayError } from "../base/errors.ts";
import type { Secret } from "../base/secret.ts";
import type { Identity, PresentedType } from "./oidc.ts";
import type { Principal } from "./principal.ts";
import type { Saml } from "./saml.ts";
import type { Signal, SignalSubject } from "./signals.ts";

export interface SignInRecord {
  readonly delegationId: string;
  readonly provider: string;
  readonly subject: string;
  /** `<provider>/<name>` */
  readonly id: string;
  readonly session: string | undefined;
  readonly issuedAtMs: number;
}

/** All synchronous; each may throw GatewayError "dependency_unavailable" and has then changed nothing. */
export interface SignInStore {
  /** All of `work` or nothing of it. */
  atomically<Result>(work: () => Result): Result;
  /** Replaces an earlier record of the same delegation. */
  record(signIn: SignInRecord): void;
  /** Delegations of whom, vouched for no later than `untilMs`. */
  matching(provider: string, whom: SignalSubject, untilMs: number): readonly string[];
  /** Of which some delegation is recorded. */
  providers(): readonly string[];
  recordEnd(provider: string, whom: SignalSubject, issuedAtMs: number): void;
  /** Was a session that this came of ended by its provider? */
  hasEnded(signIn: Omit<SignInRecord, "delegationId">): boolean;
  /** false: it was spent before. `purpose` keeps tokens of different kinds apart. */
  spend(provider: string, purpose: string, tokenId: string, keptUntilMs: number): boolean;
}

/** Tokens that sign in each time they are shown: which delegation the first time made. As SignInStore. */
export interface ShownTokenStore {
  /** `digest`: the token's SHA-256, base64url. */
  delegationOf(digest: string): string | undefined;
  record(digest: string, delegationId: string, keptUntilMs: number): void;
}

export interface SignIns {
  /** "saml": the one-time code of a SAML sign-in, with its verifier. */
  verify(token: Secret, presented: PresentedType | "saml"): Promise<Principal>;
  /**
   * Makes what a principal is let in with, in one step with the spending of its token and the record of
   * where it came from. `idOf`: the delegation; undefined when none was made.
   * Throws GatewayError "unauthenticated" when the token was spent or its session has ended; then
   * nothing was made.
   */
  admit<Result>(
    principal: Principal,
    make: () => Result,
    idOf: (made: Result) => string | undefined,
  ): Result;
  /**
   * The delegations that a signal ends. Throws GatewayError "unauthenticated" when it was given before.
   */
  end(signal: Signal): readonly string[];
  /** The delegations of providers that are not among these, by provider. */
  ofOthers(providers: ReadonlySet<string>): ReadonlyMap<string, readonly string[]>;
}

const ANYBODY: SignalSubject = { subject: undefined, id: undefined, session: undefined };
const FOR_EVER = Number.MAX_SAFE_INTEGER;

/** What a clock that is behind may add to the life of a token. */
const SKEW_MS = 10 * 60_000;

export function createSignIns(
  identity: Pick<Identity, "verify">,
  store: SignInStore,
  saml: () => Pick<Saml, "redeem"> | undefined = () => undefined,
): SignIns {
  return {
    async verify(token, presented) {
      if (presented !== "saml") return await identity.verify(token, presented);
      const service = saml();
      if (service === undefined) throw refused("this gateway has no SAML provider");
      return service.redeem(token);
    },
    admit: (principal, make, idOf) =>
      store.atomically(() => {
        const made = make();
        const delegationId = idOf(made);
        if (delegationId !== undefined) admit(store, principal, delegationId);
        return made;
      }),
    end: (signal) =>
      store.atomically(() => {
        const { provider, kind, tokenId, keptUntilMs, whom, issuedAtMs } = signal;
        if (!store.spend(provider, kind, tokenId, keptUntilMs))
          throw refused("it was given here before");
        store.recordEnd(provider, whom, issuedAtMs);
        return store.matching(provider, whom, issuedAtMs);
      }),
    ofOthers(providers) {
      const others = store.providers().filter((name) => !providers.has(name));
      return new Map(others.map((name) => [name, store.matching(name, ANYBODY, FOR_EVER)]));
    },
  };
}

function admit(store: SignInStore, principal: Principal, delegationId: string): void {
  const { voucher, subject, id, verifiedAtMs } = principal;
  if (voucher === undefined) return;
  const { provider, session, tokenId, oneTime, expiresAtMs } = voucher;
  const record = { provider, subject, id, session, issuedAtMs: verifiedAtMs };
  if (store.hasEnded(record)) throw refused(`its session at ${provider} has ended`);
  if (oneTime && !store.spend(provider, "sign-in", tokenId ?? "", expiresAtMs + SKEW_MS))
    throw refused(`provider ${provider} takes each token once, and this one was used before`);
  store.record({ ...record, delegationId });
}

function refused(why: string): GatewayError {
  return new GatewayError("unauthenticated", `this token is not accepted: ${why}`);
}
