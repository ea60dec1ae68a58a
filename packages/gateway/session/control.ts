// The one interface between the data side (sockets, codecs, decisions on a snapshot) and the control
// side (store, delegations, approvals, credentials). In one process it is a direct call; between
// processes it becomes messages, so everything that crosses it is plain data, and nothing on the data
// side opens the store.

import type { Denial, Requirement } from "../access/operation.ts";
import type { PreviewPart } from "../approval/request.ts";
import type { LeafDraft } from "../audit/journal.ts";
import type { Secret } from "../base/secret.ts";
import type { Chain } from "../delegation/chain.ts";
import type { HandleProof } from "../delegation/handle-proof.ts";
import type { Protocol } from "../target/target.ts";
import type { DeniedCommand } from "./recent-denials.ts";

/** What a client showed and where it wants to go, before anything is believed. */
export interface OpenSession {
  /** What the door speaks; a target that speaks something else is not behind it. */
  readonly protocol: Protocol;
  readonly credential: ShownCredential;
  readonly target: string;
  /** undefined: the target's only or default account. */
  readonly account: string | undefined;
  /**
   * PostgreSQL's database name; empty where targets have no parts a client names at the door, and where all
   * of a server is replicated.
   */
  readonly database: string;
  readonly clientAddress: string;
}

/** What the client showed. */
export type ShownCredential =
  /** A handle (`cst_<id>_<secret>`) or a delegation JWT. */
  | Secret
  /** SCRAM with a handle as the password; nonces and channel were the listener's to check. */
  | ({ readonly kind: "handle-proof" } & HandleProof)
  /** Taken of a provider too, where the door says which. */
  | { readonly kind: "oauth-token"; readonly token: Secret }
  /** An X.509 certificate (DER) of the gateway's authority for clients; TLS proved that the client has its key. */
  | { readonly kind: "client-certificate"; readonly certificate: Uint8Array }
  /** An SSH certificate; that the client has its key was proved to the listener. */
  | { readonly kind: "ssh-certificate"; readonly certificate: Uint8Array };

/** What the target is shown: made for this session, or a sealed account's. Never reaches a client. */
export type UpstreamCredential =
  | { readonly kind: "password"; readonly user: string; readonly password: Secret }
  /** PEM, or OpenSSH's format. */
  | { readonly kind: "ssh-key"; readonly user: string; readonly privateKey: Secret }
  | {
      readonly kind: "ssh-certificate";
      readonly user: string;
      /** PEM of the key the certificate is for; made for this session. */
      readonly privateKey: Secret;
      /** Base64. */
      readonly certificate: string;
    }
  /** Of an API server: a bearer token, or a certificate (PEM) with its key. */
  | {
      readonly kind: "kubernetes";
      /** Whom the cluster sees: the impersonated user, or the account's name here. */
      readonly user: string;
      readonly token: Secret | undefined;
      readonly certificate:
        | { readonly certificate: string; readonly privateKey: Secret }
        | undefined;
      readonly impersonate: ImpersonatedUser | undefined;
      /** When a token that was made for the session is over. */
      readonly untilMs?: number;
    };

/** Whom a cluster is to see instead of the account. */
export interface ImpersonatedUser {
  readonly user: string;
  readonly groups: readonly string[];
  /** Key in lower case → values; for the cluster's own audit log. */
  readonly extra: Readonly<Record<string, readonly string[]>>;
}

/** Of a person at a door who has no credential. */
export type BegunSignIn =
  /** They have to say with which of these providers. */
  | { readonly kind: "choose"; readonly names: readonly string[] }
  | {
      readonly kind: "code";
      readonly id: string;
      readonly verificationUri: string;
      readonly userCode: string;
      readonly expiresAtMs: number;
    };

export interface OpenedSession {
  readonly sessionId: string;
  readonly chain: Chain;
  readonly account: string;
  readonly expiresAtMs: number;
  readonly upstream: UpstreamCredential;
  /** To a handle that was proved: the gateway's own proof that it knows it too. */
  readonly serverProof?: Uint8Array | undefined;
}

/** One exact operation that waits for people; everything an approval is bound to is in `binding`. */
export interface HoldRequest {
  readonly requestId: string;
  readonly sessionId: string;
  readonly target: string;
  readonly account: string;
  /** `delete on table public.orders` */
  readonly what: string;
  /** The command as people read it, for the approver only. */
  readonly command: string;
  /** Bound parameters as text, for the approver only; a classified one never. */
  readonly parameters: readonly (string | null)[];
  /** What the approver is shown beforehand; made by reads of the gateway's own. */
  readonly preview?: readonly PreviewPart[] | undefined;
  readonly requirements: readonly Requirement[];
  readonly justification: string | undefined;
  /**
   * SHA-256 over message bytes, parameter types and values, resolved object ids, catalogue epoch, leaf
   * delegation, target, account, session settings and requirements. The same operation asked for again
   * has the same binding and finds its earlier request.
   */
  readonly binding: string;
}

export type HoldState =
  | {
      readonly state: "waiting";
      readonly approvals: number;
      readonly quorum: number;
      readonly forWhom: string;
    }
  /** `met`: the policy ids whose requirements the votes meet. The approval is spent by `spendApproval`. */
  | {
      readonly state: "approved";
      readonly met: readonly string[];
      readonly approvers: readonly string[];
    }
  | { readonly state: "denied"; readonly by: string; readonly reason: string | undefined }
  | { readonly state: "expired" };

export interface Hold {
  readonly holdId: string;
  /** An approval given after the wait is still honoured until then. */
  readonly expiresAtMs: number;
  readonly current: HoldState;
}

export interface SessionEvents {
  /** End it now: revoked, expired, shut down. `hint` says what to do. */
  readonly onEnd: (reason: SessionEnd) => void;
  /** Expiry is near: 5 minutes and 1 minute before. */
  readonly onWarning: (message: string) => void;
  /**
   * The same hops, with other groups: commands are judged by it from the next one on. A session that
   * cannot take it over leaves this out and is ended.
   */
  readonly onChain?: (chain: Chain) => void;
  /** Others in its shell; a session that has none leaves this out. */
  readonly onParticipant?: (act: ParticipantAct) => void;
  /**
   * Takes the leaves of the session's own beginning and end into the journal its commands are in, so that
   * they come in between; absent: the control side's journal is that one.
   */
  readonly record?: (leaf: LeafDraft) => void;
}

/** Sees a shell; types into it as well; sees it and may end it. */
export type JoinMode = "observer" | "peer" | "moderator";

/** What somebody does in the shell of another's session. */
export type ParticipantAct =
  | {
      readonly act: "join";
      readonly participant: string;
      readonly who: string;
      readonly mode: JoinMode;
    }
  | { readonly act: "type"; readonly participant: string; readonly bytes: Uint8Array }
  | { readonly act: "leave"; readonly participant: string };

/** What a participant sees. */
export type ParticipantView =
  | { readonly kind: "size"; readonly columns: number; readonly rows: number }
  | { readonly kind: "output"; readonly bytes: Uint8Array }
  /** There is nothing more to be seen. */
  | { readonly kind: "end"; readonly why: string };

export interface SessionEnd {
  readonly code: "revoked" | "shutdown";
  readonly message: string;
  readonly hint: string | undefined;
}

export interface Control {
  /**
   * Verifies the credential, builds the chain, registers the session under every ancestor and leases a
   * credential of the target. Throws GatewayError: unauthenticated, not_found, limit,
   * target_unavailable, dependency_unavailable.
   */
  openSession(request: OpenSession, events: SessionEvents): Promise<OpenedSession>;
  /** A code for a person to sign in with, elsewhere (session/door-sign-ins.ts). Throws GatewayError. */
  beginSignIn(provider: string | undefined): Promise<BegunSignIn>;
  /** Waits for them; the credential lives until `endSignIn`. */
  finishSignIn(id: string): Promise<Secret>;
  endSignIn(id: string): void;
  /** The server process that runs this session's commands, so that a revocation can end it. */
  attachBackend(sessionId: string, processId: number): void;
  /**
   * A credential with which the target runs this line and nothing else; undefined: its account has none
   * such. Absent: no target has. Throws GatewayError "not_found" for a session that is over.
   */
  commandCredential?(sessionId: string, line: string): Promise<UpstreamCredential | undefined>;
  /** `recording` ties the whole recording to the log; undefined when there is none. */
  closeSession(
    sessionId: string,
    reason: string,
    recording: { readonly pieces: number; readonly digest: string } | undefined,
  ): Promise<void>;
  /** Opens a request or finds the live one of the same binding; `onChange` is called on every change. */
  requestApproval(request: HoldRequest, onChange: (state: HoldState) => void): Promise<Hold>;
  /** Nobody waits on the wire any more; the request itself stays until it expires. */
  leaveHold(holdId: string, sessionId: string): void;
  /** Single use: true once for an approved hold with this binding, then never again. */
  spendApproval(holdId: string, binding: string): Promise<boolean>;
  /** What a participant of that session sees. May be lost when nobody takes it. */
  showParticipant(sessionId: string, participant: string, view: ParticipantView): void;
  /** A command was denied, or waits for people: for who asks about it by its request id. */
  noteDenial(denied: DeniedCommand): void;
  /** For the error text of a denial: is there something the chain could ask for? */
  explain?(denial: Denial): string | undefined;
}
