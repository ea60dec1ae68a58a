// What the control API stands on, by the part of it that each group of routes needs.

import type { Decision, Operation } from "../access/operation.ts";
import type { Approvals } from "../approval/approvals.ts";
import type { EvidencePart, WantedEvidence } from "../audit/evidence-export.ts";
import type { OpenJournal } from "../audit/journal-writer.ts";
import type { leavesWithin, Window } from "../audit/log-search.ts";
import type { Clock } from "../base/clock.ts";
import type { ClientAuthority } from "../config/client-authority.ts";
import type { Provider } from "../config/config.ts";
import type { Authenticate } from "../delegation/authenticate.ts";
import type { Chain } from "../delegation/chain.ts";
import type { Exchange } from "../delegation/exchange.ts";
import type { Lifecycle } from "../delegation/lifecycle.ts";
import type { KeyProofs } from "../delegation/proof.ts";
import type { ProviderSessions } from "../delegation/provider-sessions.ts";
import type { Tokens } from "../delegation/tokens.ts";
import type { Tree } from "../delegation/tree.ts";
import type { Identity } from "../identity/oidc.ts";
import type { People } from "../identity/people.ts";
import type { Saml } from "../identity/saml.ts";
import type { Erasures } from "../recording/erasures.ts";
import type { JoinMode } from "../session/control.ts";
import type { Participants } from "../session/participants.ts";
import type { RecentDenials } from "../session/recent-denials.ts";
import type { Registry } from "../session/registry.ts";
import type { SessionRow, SessionStore } from "../session/store.ts";
import type { Target } from "../target/target.ts";

export interface ApiTls {
  /** PEM: the certificate with its chain, and its key. */
  current(): { readonly cert: string; readonly key: string };
  /** Called after a renewal; open connections go on. Returns how to stop listening. */
  onRenew(listener: () => void): () => void;
}

export interface ApiLimits {
  readonly apiBodyBytes: number;
  /** Of one client address. */
  readonly apiRequestsPerMinute: number;
}

/** Policy questions of the API. Approving and administering are for a User at depth 0 only. */
export interface Authority {
  mayAdminister(chain: Chain): boolean;
  /** `target` undefined: whatever there is, for the tail and the log's entries. */
  mayReplay(chain: Chain, target: string | undefined): boolean;
  /** See values of the class in a recording of that session, asking from that address. */
  mayUnmask(
    chain: Chain,
    session: Pick<SessionRow, "target" | "account" | "protocol">,
    clientAddress: string,
    className: string,
  ): boolean;
  /** In somebody else's shell there. A peer needs a right to a shell of their own. */
  mayTakePart(chain: Chain, shell: ShellPlace, mode: JoinMode): boolean;
}

export interface ShellPlace {
  readonly target: string;
  readonly account: string;
  /** Whence who takes part asks. */
  readonly clientAddress: string;
}

export interface Delegations {
  readonly tree: Tree;
  readonly tokens: Tokens;
  readonly exchange: Exchange;
  readonly lifecycle: Lifecycle;
  readonly authenticate: Authenticate;
  readonly keyProofs: KeyProofs;
  readonly people: () => People;
  readonly providers: ProviderParts;
}

export interface ProviderParts {
  readonly all: () => Iterable<Provider>;
  readonly signal: Identity["signal"];
  readonly sessions: ProviderSessions;
  /** undefined: there is no SAML provider. */
  readonly saml?: Saml | undefined;
}

export interface SessionParts {
  readonly registry: Registry;
  readonly participants: Participants;
  readonly store: SessionStore;
  readonly targets: () => ReadonlyMap<string, Target>;
  /** Where clients connect; undefined when that protocol is not listened for. */
  readonly listeners: () => {
    readonly postgres?: { readonly host: string; readonly port: number };
    readonly ssh?: { readonly host: string; readonly port: number };
    readonly kubernetes?: { readonly host: string; readonly port: number };
  };
}

export interface SshParts {
  /** Public key lines. */
  readonly authorities: { readonly host: string; readonly target: string };
  /** For the chain's leaf, until it expires. Throws GatewayError "invalid" for what is no key. */
  readonly certify: (
    publicKeyLine: string,
    chain: Chain,
  ) => Promise<{
    /** A line. */
    readonly certificate: string;
    /** Of the key: `SHA256:…` */
    readonly fingerprint: string;
    readonly expiresAtMs: number;
  }>;
}

/** What is asked about: a statement in a database, or a command line. */
export type AskedText =
  | { readonly sql: string; readonly database: string }
  | { readonly command: string };

export interface ExplainingParts {
  readonly denials: Pick<RecentDenials, "find">;
  /** What would be decided, without running it. Throws GatewayError as opening a session does. */
  readonly dryRun: (
    chain: Chain,
    asked: {
      readonly target: string;
      readonly account: string | undefined;
      readonly text: AskedText;
      readonly justification: string | undefined;
      readonly clientAddress: string;
    },
  ) => Promise<{
    readonly decision: Decision;
    /** undefined: it was not understood. */
    readonly operation: Operation | undefined;
    readonly account: string;
  }>;
}

export interface EvidenceParts {
  /** `tail` gives leaves as JSON text, as the journal takes them. */
  readonly journal: Pick<OpenJournal, "append" | "settled" | "tail">;
  /** The folder with `checkpoint` and `tile/`, or with the shards. */
  readonly logDirectory: string;
  /** The log's verifier key, one line. */
  readonly vkey: () => string;
  /**
   * One event a value, to be sent as JSON; from this millisecond of the session on, or from the last screen before
   * it. Throws GatewayError "not_found".
   */
  readonly readRecording: (
    sessionId: string,
    mayUnmask: (className: string) => boolean,
    fromMs?: number,
    withScreen?: boolean,
  ) => AsyncIterable<object>;
  /** Whether the text is in what the reader may see of it. Rejects as reading it does. */
  readonly saidIn: (
    sessionId: string,
    text: string,
    mayUnmask: (className: string) => boolean,
  ) => Promise<boolean>;
  /** Leaves of the published log about that time whose text has one of the words. */
  readonly leaves: (window: Window, words: readonly string[]) => ReturnType<typeof leavesWithin>;
  /** Throws GatewayError while it is read. */
  readonly exportEvidence: (wanted: WantedEvidence) => AsyncIterable<EvidencePart>;
  readonly erasures: Erasures;
}

export interface ApiDeps {
  readonly delegations: Delegations;
  readonly approvals: Approvals;
  readonly sessions: SessionParts;
  /** Signs certificates for clients of the doors that speak TLS. */
  readonly clientAuthority: Pick<ClientAuthority, "certify">;
  /** undefined: there is no SSH door. */
  readonly ssh?: SshParts | undefined;
  readonly explaining: ExplainingParts;
  readonly evidence: EvidenceParts;
  readonly authority: Authority;
  readonly outside: {
    readonly clock: Clock;
    readonly tls: ApiTls;
    readonly limits: ApiLimits;
    /** Each check by name; all true is ready. */
    readonly ready: () => Readonly<Record<string, boolean>>;
    readonly onFault: (thrown: unknown) => void;
  };
}
