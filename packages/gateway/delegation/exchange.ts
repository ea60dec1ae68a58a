// RFC 8693 token exchange as this gateway does it. Two things can be asked for:
//
//   sign-in   subject = a provider's token, no actor           → a root, depth 0
//   delegate  subject = a delegation, actor = who is to act    → a child of that delegation
//
// Either may bind what it makes to a key that was proved with the request; a parent that holds a key says
// with a hop statement, signed with it, what its child is (hop-statement.ts).
//
// A delegation without an actor would be impersonation and is refused; so is everything that is
// neither of the two, rather than read as one of them. Each outcome is a leaf of the log.

import { createHash } from "node:crypto";
import type { Journal } from "../audit/journal.ts";
import { GatewayError } from "../base/errors.ts";
import { Secret } from "../base/secret.ts";
import type { PresentedType } from "../identity/oidc.ts";
import type { SignIns } from "../identity/sign-ins.ts";
import type { Authenticate } from "./authenticate.ts";
import type { Chain } from "./chain.ts";
import { leafOf, rootOf } from "./chain.ts";
import { createdLeaf } from "./created-leaf.ts";
import { parseCredential } from "./credential.ts";
import { type Grant, grantToDetails, parseGrant } from "./grant.ts";
import { type HopStatement, verifyStatement } from "./hop-statement.ts";
import type { PublicKey } from "./key.ts";
import { leafChain } from "./leaf-chain.ts";
import { AGENT_NAME } from "./offline.ts";
import type { Tokens } from "./tokens.ts";
import {
  isRefused,
  type Minted,
  type NewActor,
  type Refused,
  type Shape,
  type Tree,
} from "./tree.ts";

export interface ExchangeRequest {
  readonly subject: { readonly token: Secret; readonly type: PresentedType | "saml" | "handle" };
  readonly actor:
    | { readonly type: PresentedType; readonly token: Secret }
    | { readonly type: "agent-name"; readonly name: string }
    | undefined;
  readonly shape: Shape;
  /** RFC 9396, already JSON; undefined when the request has none. */
  readonly authorizationDetails: unknown;
  readonly ttlMs: number | undefined;
  /** `audience` and `resource` of the request: each has to be this gateway. */
  readonly audiences: readonly string[];
  /** Proved with this request: what is made is bound to it. */
  readonly key?: PublicKey | undefined;
  /** What the parent, which holds a key, signed about the child. */
  readonly statement?: string | undefined;
  /** At sign-in: holders of keys below may sign children without asking. */
  readonly offlineChildren?: boolean;
}

export type ExchangeError =
  | "invalid_request"
  | "invalid_target"
  | "invalid_authorization_details"
  | "access_denied";

export type ExchangeResult =
  | { readonly ok: true; readonly minted: Minted; readonly credential: Secret }
  | { readonly ok: false; readonly error: ExchangeError; readonly message: string };

export interface ExchangeDeps {
  readonly tree: Tree;
  readonly tokens: Tokens;
  readonly identity: Pick<SignIns, "verify" | "admit">;
  readonly authenticate: Authenticate;
  readonly journal: Journal;
  /** Whether policies let this chain delegate at all; the message when not. */
  readonly mayDelegate: (chain: Chain) => { readonly allowed: boolean; readonly message?: string };
  readonly nowMs: () => number;
}

/** Throws GatewayError "dependency_unavailable" only; a request that cannot be met is a value. */
export type Exchange = (request: ExchangeRequest) => Promise<ExchangeResult>;

/** A JWT with its grant still has to fit into a password field and our own limit on credentials. */
const MAX_GRANT_LENGTH = 8192;
/** A hop statement is as fresh as this when it is shown, give or take the signer's clock. */
const STATEMENT_WINDOW_MS = 300_000;

interface Refusal {
  readonly error: ExchangeError;
  readonly message: string;
  readonly chain: Chain | undefined;
}

export function createExchange(deps: ExchangeDeps): Exchange {
  return async (request) => {
    const outcome = await exchange(deps, request);
    if ("error" in outcome) {
      const { error, message, chain } = outcome;
      deps.journal.append({
        event: "delegation.refused",
        ...(chain === undefined ? {} : { chain: leafChain(chain) }),
        outcome: error,
      });
      return { ok: false, error, message };
    }
    const minted = outcome;
    deps.journal.append(createdLeaf(minted, request.shape));
    const credential = minted.handle ?? new Secret(await deps.tokens.sign(minted.chain));
    return { ok: true, minted, credential };
  };
}

async function exchange(deps: ExchangeDeps, request: ExchangeRequest): Promise<Minted | Refusal> {
  if (request.audiences.some((audience) => audience !== deps.tokens.issuer))
    return refusal(
      "invalid_target",
      "this server gives delegations for itself only; leave out audience and resource",
    );
  try {
    if (isOurs(deps, request.subject.token)) return await delegate(deps, request);
    return await signIn(deps, request);
  } catch (thrown) {
    if (!(thrown instanceof GatewayError) || thrown.code !== "unauthenticated") throw thrown;
    return refusal("invalid_request", withHint(thrown));
  }
}

async function signIn(deps: ExchangeDeps, request: ExchangeRequest): Promise<Minted | Refusal> {
  const { subject } = request;
  if (request.actor !== undefined)
    return refusal(
      "invalid_request",
      "a provider's token signs its own principal in; to delegate, exchange the delegation that gives",
    );
  if (request.authorizationDetails !== undefined)
    return refusal(
      "invalid_authorization_details",
      "a sign-in carries no grant: policies say what a root may do",
    );
  if (request.statement !== undefined)
    return refusal("invalid_request", "hop_statement: a sign-in has no parent that could sign it");
  if (subject.type === "handle") return refusal("invalid_request", "subject_token is no handle");
  const principal = await deps.identity.verify(subject.token, subject.type);
  const { ttlMs, shape, key, offlineChildren = false } = request;
  const minted = deps.identity.admit(
    principal,
    () => deps.tree.signIn(principal, ttlMs, shape, { key, offlineChildren }),
    (made) => (isRefused(made) ? undefined : rootOf(made.chain).delegationId),
  );
  return settle(minted, undefined);
}

async function delegate(deps: ExchangeDeps, request: ExchangeRequest): Promise<Minted | Refusal> {
  const { subject } = request;
  const isHandle = parseCredential(subject.token.reveal())?.base.kind === "handle";
  if (isHandle !== (subject.type === "handle") || ["id_token", "saml"].includes(subject.type))
    return refusal("invalid_request", "subject_token_type does not fit the subject_token");
  if (request.offlineChildren === true)
    return refusal("invalid_request", "offline_children: only a sign-in can allow them");
  // A parent that holds a key proves it with the statement it signs, below.
  const chain = await deps.authenticate(subject.token, "unproved-will-do");
  if (request.actor === undefined)
    return refusal(
      "invalid_request",
      "a delegation needs an actor (actor_token, actor_token_type): impersonation is refused",
      chain,
    );
  const grant = readGrant(request.authorizationDetails);
  if ("error" in grant) return { ...grant, chain };
  const verdict = deps.mayDelegate(chain);
  if (!verdict.allowed)
    return refusal(
      "access_denied",
      verdict.message ?? "policies do not let this chain delegate",
      chain,
    );
  const stated = await statementOf(deps, request, request.actor, grant.grant, chain);
  if (stated !== undefined && "error" in stated) return { ...stated, chain };
  const actor = await actorOf(deps, request.actor);
  if ("error" in actor) return { ...actor, chain };
  const { shape, ttlMs, key } = request;
  const child = { actor, grant: grant.grant, ttlMs, shape, key, statement: stated };
  const make = () => deps.tree.delegate(leafOf(chain).delegationId, child);
  if (actor.kind === "agent") return settle(make(), chain);
  const minted = deps.identity.admit(actor.principal, make, (made) =>
    isRefused(made) ? undefined : made.node.id,
  );
  return settle(minted, chain);
}

/** undefined: none was sent, which the tree refuses where the parent holds a key. */
async function statementOf(
  deps: ExchangeDeps,
  request: ExchangeRequest,
  actor: NonNullable<ExchangeRequest["actor"]>,
  grant: Grant,
  chain: Chain,
): Promise<HopStatement | Refusal | undefined> {
  if (request.statement === undefined) return undefined;
  const parent = deps.tree.find(leafOf(chain).delegationId);
  if (parent?.key === undefined)
    return refusal("invalid_request", "hop_statement: the parent is bound to no key");
  let statement: HopStatement;
  try {
    statement = await verifyStatement(request.statement, parent.key, deps.tokens.issuer);
  } catch (thrown) {
    if (!(thrown instanceof GatewayError) || thrown.code !== "invalid") throw thrown;
    return refusal("invalid_request", thrown.message);
  }
  const why = whyNotAsked(statement, request, actor, grant, deps.nowMs());
  return why === undefined ? statement : refusal("invalid_request", `hop_statement: ${why}`);
}

/** What was signed and what is asked for are one thing. */
function whyNotAsked(
  statement: HopStatement,
  request: ExchangeRequest,
  actor: NonNullable<ExchangeRequest["actor"]>,
  grant: Grant,
  nowMs: number,
): string | undefined {
  if (Math.abs(nowMs - statement.issuedAtMs) > STATEMENT_WINDOW_MS)
    return "iat: sign it when it is sent";
  const { actor: stated } = statement;
  const sameActor =
    actor.type === "agent-name"
      ? stated.kind === "agent" && stated.name === actor.name
      : stated.kind === "token" && stated.digest === digestOf(actor.token.reveal());
  if (!sameActor) return "actor: it is about another actor";
  if (statement.key?.jkt !== request.key?.jkt)
    return "cnf: the key in it and the key that was proved are not one";
  if (detailsText(statement.grant) !== detailsText(grant))
    return "authorization_details: it is about another grant";
  return undefined;
}

function digestOf(text: string): string {
  return createHash("sha256").update(text).digest("base64url");
}

function detailsText(grant: Grant): string {
  return JSON.stringify(grantToDetails(grant));
}

async function actorOf(
  deps: ExchangeDeps,
  actor: NonNullable<ExchangeRequest["actor"]>,
): Promise<NewActor | Refusal> {
  if (actor.type === "agent-name")
    return AGENT_NAME.test(actor.name)
      ? { kind: "agent", name: actor.name }
      : refusal(
          "invalid_request",
          "actor_token: an agent's name is 1 to 64 letters, digits, spaces and . _ : -, with a letter or digit at each end",
        );
  if (isOurs(deps, actor.token))
    return refusal("invalid_request", "actor_token: a delegation is no proof of who acts");
  const principal = await deps.identity.verify(actor.token, actor.type);
  if (principal.actors !== undefined && principal.actors.length > 0)
    return refusal("invalid_request", "actor_token: it is a chain of its own; sign in with it");
  if (principal.kind !== "workload")
    return refusal("invalid_request", "actor_token: a user acts for themselves, not for another");
  return { kind: "workload", principal };
}

function readGrant(details: unknown): { readonly grant: Grant } | Refusal {
  if (details === undefined)
    return refusal(
      "invalid_authorization_details",
      "authorization_details: say what the delegation is to carry; an empty grant is none",
    );
  try {
    const grant = parseGrant(details);
    if (detailsText(grant).length > MAX_GRANT_LENGTH)
      return refusal(
        "invalid_authorization_details",
        `authorization_details: longer than ${MAX_GRANT_LENGTH} characters`,
      );
    return { grant };
  } catch (thrown) {
    if (!(thrown instanceof GatewayError) || thrown.code !== "invalid") throw thrown;
    return refusal("invalid_authorization_details", thrown.message);
  }
}

function settle(result: Minted | Refused, chain: Chain | undefined): Minted | Refusal {
  if (!isRefused(result)) return result;
  const error = result.refused === "grant" ? "invalid_authorization_details" : "invalid_request";
  return refusal(error, result.message, chain);
}

/** Ours by its shape; whether it is a good one is for `authenticate`. */
function isOurs(deps: ExchangeDeps, token: Secret): boolean {
  const text = token.reveal();
  const kind = parseCredential(text)?.base.kind;
  if (kind === "handle" || kind === "statements") return true;
  const claims = text.split(".")[1];
  if (claims === undefined) return false;
  try {
    const parsed: unknown = JSON.parse(Buffer.from(claims, "base64url").toString("utf8"));
    return Object(parsed).iss === deps.tokens.issuer;
  } catch {
    return false;
  }
}

function withHint(error: GatewayError): string {
  return error.hint === undefined ? error.message : `${error.message}; ${error.hint}`;
}

function refusal(error: ExchangeError, message: string, chain?: Chain): Refusal {
  return { error, message, chain };
}
