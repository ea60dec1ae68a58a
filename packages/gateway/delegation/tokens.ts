// The JWT shape of a delegation (RFC 7519, RFC 8693 section 4.1, RFC 9396 section 9.1): EdDSA,
// `typ: custody-delegation+jwt`, `sub` the root, nested `act` the hops with the current actor
// outermost. A signed snapshot that points at a node: whoever verifies one reads the tree again, and a
// token that does not say what the tree says is refused.
//
// The key that signs, and the earlier ones that still verify, are those of signing-key.ts.

import type { KeyObject } from "node:crypto";
import {
  errors,
  type JWK,
  type JWTHeaderParameters,
  type JWTPayload,
  jwtVerify,
  SignJWT,
} from "jose";
import type { Clock } from "../base/clock.ts";
import { GatewayError } from "../base/errors.ts";
import { base32, type RandomBytes } from "../base/ids.ts";
import type { Chain } from "./chain.ts";
import { expiryOf, leafOf, rootOf } from "./chain.ts";
import { grantToDetails } from "./grant.ts";
import type { SigningKey } from "./signing-key.ts";

export const DELEGATION_TOKEN_TYPE = "custody-delegation+jwt";

export interface TokenActor {
  readonly sub: string;
  readonly name?: string;
  readonly act?: TokenActor;
}

export interface Tokens {
  sign(chain: Chain): Promise<string>;
  /** The id of the delegation it points at; throws GatewayError "unauthenticated". */
  verify(token: string): Promise<VerifiedToken>;
  readonly issuer: string;
  /** What verifies them, for /jwks: the signing one first. */
  readonly jwks: readonly JWK[];
}

export interface VerifiedToken {
  readonly delegationId: string;
  /** Does the token tell the same chain as the tree? */
  agreesWith(chain: Chain): boolean;
}

export interface TokenDeps {
  readonly key: SigningKey;
  /** The gateway's own URL: issuer and audience of every delegation. */
  readonly issuer: string;
  readonly clock: Clock;
  readonly random: RandomBytes;
}

export function createTokens(deps: TokenDeps): Tokens {
  const { key, issuer, clock } = deps;
  return {
    issuer,
    jwks: [key, ...key.earlier].map(({ jwk }) => jwk),
    sign: (chain) =>
      new SignJWT(claimsOf(chain))
        .setProtectedHeader({ alg: "EdDSA", typ: DELEGATION_TOKEN_TYPE, kid: key.kid })
        .setIssuer(issuer)
        .setAudience(issuer)
        .setJti(base32(deps.random(26), 26))
        .setIssuedAt(Math.floor(clock.nowMs() / 1000))
        .setExpirationTime(Math.floor(expiryOf(chain) / 1000))
        .sign(key.privateKey),
    async verify(token) {
      const payload = await verified(deps, token);
      const delegationId = payload.delegation_id;
      if (typeof delegationId !== "string") throw invalidToken();
      return {
        delegationId,
        agreesWith: (chain) =>
          leafOf(chain).delegationId === delegationId &&
          payload.sub === rootOf(chain).subject &&
          confirmedKey(payload) === leafOf(chain).jkt &&
          JSON.stringify(payload.act) === JSON.stringify(actorOf(chain)),
      };
    },
  };
}

async function verified(deps: TokenDeps, token: string): Promise<JWTPayload> {
  try {
    const { payload } = await jwtVerify(token, keyOf(deps.key), {
      algorithms: ["EdDSA"],
      typ: DELEGATION_TOKEN_TYPE,
      issuer: deps.issuer,
      audience: deps.issuer,
      requiredClaims: ["sub", "exp", "iat", "jti", "delegation_id"],
      currentDate: new Date(deps.clock.nowMs()),
    });
    return payload;
  } catch (thrown) {
    if (thrown instanceof errors.JWTExpired)
      throw new GatewayError("unauthenticated", "this token has expired", {
        hint: "a person: custody login; an agent: ask the parent to renew, and for a new token",
        cause: thrown,
      });
    throw invalidToken(thrown);
  }
}

/** By the header's `kid` alone, among our own. */
function keyOf(key: SigningKey): (header: JWTHeaderParameters) => KeyObject {
  return ({ kid }) => {
    const known = [key, ...key.earlier].find((one) => one.kid === kid);
    if (known === undefined) throw new errors.JWKSNoMatchingKey();
    return known.publicKey;
  };
}

function claimsOf(chain: Chain): JWTPayload {
  const leaf = leafOf(chain);
  const act = actorOf(chain);
  return {
    sub: rootOf(chain).subject,
    ...(act === undefined ? {} : { act }),
    ...(leaf.jkt === undefined ? {} : { cnf: { jkt: leaf.jkt } }),
    ...(leaf.grant === undefined ? {} : { authorization_details: grantToDetails(leaf.grant) }),
    delegation_id: leaf.delegationId,
  };
}

/** RFC 9449 section 6.1; undefined: bound to none. */
function confirmedKey(payload: JWTPayload): unknown {
  return Object(payload.cnf).jkt;
}

/** undefined at a root, which acts for itself. */
export function actorOf(chain: Chain): TokenActor | undefined {
  let actor: TokenActor | undefined;
  for (const hop of chain.hops.slice(1))
    actor = {
      sub: hop.subject,
      name: hop.name,
      ...(actor === undefined ? {} : { act: actor }),
    };
  return actor;
}

function invalidToken(cause?: unknown): GatewayError {
  return new GatewayError("unauthenticated", "this credential is not one of this gateway's", {
    ...(cause === undefined ? {} : { cause }),
  });
}
