// RFC 8693 token exchange as this gateway does it. Two things can be asked for:
//
//   sign-in   subject = a provider's token, no actor           → a root, depth 0
//   delegate  subject = a delegation, actor = who is to act    → a child of that delegation
//
// A delegation without an actor would be impersonation and is refused; so is everything that is
// neither of the two, rather than read as one of them. Each outcome is a leaf of the log.

import { createHash } from "node:crypto";
import type { Journal } from "../audit/journal.ts";
import { GatewayError } from "../base/errors.ts";
import { Secret } from "../base/secret.ts";
import type { Identity, PresentedType } from "../identity/oidc.ts";
import type { Authenticate } from "./authenticate.ts";
import type { Chain } from "./chain.ts";
import { leafOf } from "./chain.ts";
import { type Grant, grantToDetails, parseGrant } from "./grant.ts";
import { looksLikeHandle } from "./handles.ts";
import { leafChain } from "./leaf-chain.ts";
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
  readonly subject: { readonly token: Secret; readonly type: PresentedType | "handle" };
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
  readonly identity: Identity;
  readonly authenticate: Authenticate;
  readonly journal: Journal;
  /** Whether policies let this chain delegate at all; the message when not. */
  readonly mayDelegate: (chain: Chain) => { readonly allowed: boolean; readonly message?: string };
}

/** Throws GatewayError "dependency_unavailable" only; a request that cannot be met is a value. */
export type Exchange = (request: ExchangeRequest) => Promise<ExchangeResult>;

/** A JWT with its grant still has to fit into a password field and our own limit on credentials. */
const MAX_GRANT_LENGTH = 8192;
/** In a leaf; of a longer one there is the digest. */
const MAX_LOGGED_GRANT_LENGTH = 2048;
// No "@" and no "/": an agent's claimed name cannot be taken for a user's or a workload's id.
const AGENT_NAME = /^[A-Za-z0-9]([A-Za-z0-9 ._:-]{0,62}[A-Za-z0-9])?$/;

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
  if (subject.type === "handle") return refusal("invalid_request", "subject_token is no handle");
  const principal = await deps.identity.verify(subject.token, subject.type);
  return settle(deps.tree.signIn(principal, request.ttlMs, request.shape), undefined);
}

async function delegate(deps: ExchangeDeps, request: ExchangeRequest): Promise<Minted | Refusal> {
  const { subject } = request;
  const isHandle = looksLikeHandle(subject.token.reveal());
  if (isHandle !== (subject.type === "handle") || subject.type === "id_token")
    return refusal("invalid_request", "subject_token_type does not fit the subject_token");
  const chain = await deps.authenticate(subject.token);
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
  const actor = await actorOf(deps, request.actor);
  if ("error" in actor) return { ...actor, chain };
  const { shape, ttlMs } = request;
  const parentId = leafOf(chain).delegationId;
  return settle(deps.tree.delegate(parentId, { actor, grant: grant.grant, ttlMs, shape }), chain);
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
    if (JSON.stringify(grantToDetails(grant)).length > MAX_GRANT_LENGTH)
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
  if (looksLikeHandle(text)) return true;
  const claims = text.split(".")[1];
  if (claims === undefined) return false;
  try {
    const parsed: unknown = JSON.parse(Buffer.from(claims, "base64url").toString("utf8"));
    return Object(parsed).iss === deps.tokens.issuer;
  } catch {
    return false;
  }
}

function createdLeaf(minted: Minted, shape: Shape): Parameters<Journal["append"]>[0] {
  const { node, chain } = minted;
  const grant = node.grant === undefined ? undefined : JSON.stringify(grantToDetails(node.grant));
  return {
    event: "delegation.created",
    chain: leafChain(chain),
    detail: {
      shape,
      expires: node.expiresAtMs,
      ...(grant === undefined
        ? {}
        : {
            grantDigest: createHash("sha256").update(grant).digest("base64url"),
            ...(grant.length <= MAX_LOGGED_GRANT_LENGTH ? { grant } : {}),
          }),
    },
  };
}

function withHint(error: GatewayError): string {
  return error.hint === undefined ? error.message : `${error.message}; ${error.hint}`;
}

function refusal(error: ExchangeError, message: string, chain?: Chain): Refusal {
  return { error, message, chain };
}
