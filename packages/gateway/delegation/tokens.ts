// The JWT shape of a delegation (RFC 7519, RFC 8693 section 4.1, RFC 9396 section 9.1): EdDSA,
// `typ: custody-delegation+jwt`, `sub` the root, nested `act` the hops with the current actor
// outermost. A signed snapshot that points at a node: whoever verifies one reads the tree again, and a
// token that does not say what the tree says is refused.
//
// Owns the signing key, a PKCS #8 file that only the gateway's user reads.

import {
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
} from "node:crypto";
import { closeSync, fsyncSync, mkdirSync, openSync, readFileSync, writeSync } from "node:fs";
import { dirname } from "node:path";
import {
  calculateJwkThumbprint,
  errors,
  type JWK,
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

export const DELEGATION_TOKEN_TYPE = "custody-delegation+jwt";

export interface SigningKey {
  readonly privateKey: KeyObject;
  readonly publicKey: KeyObject;
  readonly kid: string;
  /** For /jwks. */
  readonly jwk: JWK;
}

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
  readonly jwk: JWK;
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

/** Reads the key, or makes one at the first start. */
export async function openSigningKey(file: string): Promise<SigningKey> {
  const privateKey = readKey(file) ?? makeKey(file);
  if (privateKey.asymmetricKeyType !== "ed25519")
    throw new GatewayError("configuration", `${file}: expected an Ed25519 key`);
  const publicKey = createPublicKey(privateKey);
  const { kty = "OKP", crv = "Ed25519", x = "" } = publicKey.export({ format: "jwk" });
  const kid = await calculateJwkThumbprint({ kty, crv, x });
  return { privateKey, publicKey, kid, jwk: { kty, crv, x, kid, alg: "EdDSA", use: "sig" } };
}

export function createTokens(deps: TokenDeps): Tokens {
  const { key, issuer, clock } = deps;
  return {
    issuer,
    jwk: key.jwk,
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
    const { payload } = await jwtVerify(token, deps.key.publicKey, {
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

function readKey(file: string): KeyObject | undefined {
  let pem: string;
  try {
    pem = readFileSync(file, "utf8");
  } catch (thrown) {
    if (Object(thrown).code === "ENOENT") return undefined;
    throw new GatewayError("configuration", `${file}: cannot be read`, { cause: thrown });
  }
  try {
    return createPrivateKey(pem);
  } catch (thrown) {
    throw new GatewayError("configuration", `${file}: not a private key in PEM`, { cause: thrown });
  }
}

function makeKey(file: string): KeyObject {
  const { privateKey } = generateKeyPairSync("ed25519");
  mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
  // "wx": two gateways that start at once do not overwrite each other's key.
  const descriptor = openSync(file, "wx", 0o600);
  try {
    writeSync(descriptor, privateKey.export({ type: "pkcs8", format: "pem" }).toString());
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
  return privateKey;
}

function invalidToken(cause?: unknown): GatewayError {
  return new GatewayError("unauthenticated", "this credential is not one of this gateway's", {
    ...(cause === undefined ? {} : { cause }),
  });
}
