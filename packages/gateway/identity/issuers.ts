// The issuers of the configuration, opened: whose keys verify what, and the check of a signature that
// everything an issuer sends has to pass (RFC 7515, RFC 7519, RFC 8725).
//
// Keys come from the provider's key set alone: `jwk`, `jku` and `x5u` in a header are never followed.

import { readFileSync } from "node:fs";
import { errors, type JWTVerifyOptions, type JWTVerifyResult, jwtVerify } from "jose";
import type { Clock } from "../base/clock.ts";
import { GatewayError } from "../base/errors.ts";
import type { Provider } from "../config/config.ts";
import { createProviderKeys, type ProviderKeys } from "./keys.ts";

export interface IdentityLimits {
  /** How far a provider's clock may be from ours. */
  readonly clockSkewMs: number;
  readonly providerStaleMs: number;
}

export interface Issuer {
  readonly provider: Provider;
  readonly keys: ProviderKeys;
  readonly skewS: number;
}

export const MAX_TOKEN_LENGTH = 16_384;
// Asymmetric only, whatever a configuration says: an HMAC "key" would be the provider's public key.
const ASYMMETRIC = /^(RS|PS|ES)(256|384|512)$|^EdDSA$|^Ed25519$/;

export function openIssuer(provider: Provider, limits: IdentityLimits, clock: Clock): Issuer {
  const unfit = provider.algorithms.find((algorithm) => !ASYMMETRIC.test(algorithm));
  if (unfit !== undefined || provider.algorithms.length === 0)
    throw new GatewayError(
      "configuration",
      `provider ${provider.name}: algorithms must be asymmetric signatures such as RS256, ES256 or EdDSA`,
    );
  const { name, issuer, insecureHttp, keys } = provider;
  const ca = providerCa(provider);
  const source = { name, issuer, ca, insecureHttp, keys, staleMs: limits.providerStaleMs };
  return { provider, keys: createProviderKeys(source, clock), skewS: limits.clockSkewMs / 1000 };
}

/** PEM; undefined: the system's authorities. Throws GatewayError "configuration". */
export function providerCa({ name, caFile }: Provider): string | undefined {
  if (caFile === undefined) return undefined;
  try {
    return readFileSync(caFile, "utf8");
  } catch (thrown) {
    throw new GatewayError("configuration", `provider ${name}: ${caFile} cannot be read`, {
      cause: thrown,
    });
  }
}

export interface Expected {
  readonly audience: string | string[];
  readonly requiredClaims: readonly string[];
  /** Left out where no JWT of this kind has one. */
  readonly typ?: string;
}

/** Throws GatewayError: unauthenticated with what did not fit, dependency_unavailable. */
export async function checkSignature(
  { provider, keys, skewS }: Issuer,
  text: string,
  expected: Expected,
  nowMs: number,
): Promise<JWTVerifyResult> {
  const options: JWTVerifyOptions = {
    algorithms: [...provider.algorithms],
    audience: expected.audience,
    clockTolerance: skewS,
    requiredClaims: [...expected.requiredClaims],
    currentDate: new Date(nowMs),
  };
  // A JWT-SVID has no issuer to be held to (JWT-SVID section 3): the keys are its trust domain's own.
  if (provider.preset !== "spiffe") options.issuer = provider.issuer;
  if (expected.typ !== undefined) options.typ = expected.typ;
  try {
    return await jwtVerify(text, keys.getKey, options);
  } catch (thrown) {
    if (thrown instanceof GatewayError) throw thrown;
    throw refused(explain(provider, expected, thrown), thrown);
  }
}

// jose checks exp and nbf; a token "issued" in the future is a clock or a forger to be told about.
export function issuedInFuture(issuedAtS: number | undefined, latestS: number): string | undefined {
  return (issuedAtS ?? Number.NaN) <= latestS ? undefined : "it was issued in the future";
}

function explain(provider: Provider, { audience, typ }: Expected, thrown: unknown): string {
  if (thrown instanceof errors.JWTExpired) return "it has expired";
  if (thrown instanceof errors.JWTClaimValidationFailed) {
    if (thrown.claim === "aud")
      return `its audience is not ${[audience]
        .flat()
        .map((one) => `"${one}"`)
        .join(" or ")}`;
    if (thrown.claim === "typ") return `its type is not ${typ}`;
    return `its claim "${thrown.claim}" ${thrown.reason === "missing" ? "is missing" : "does not fit"}`;
  }
  if (thrown instanceof errors.JOSEAlgNotAllowed)
    return `its algorithm is not one of ${provider.algorithms.join(", ")}`;
  if (thrown instanceof errors.JWKSNoMatchingKey)
    return `no key of the provider ${provider.name} fits it`;
  return `its signature is not one of the provider ${provider.name}`;
}

export function refused(why: string, cause?: unknown): GatewayError {
  return new GatewayError("unauthenticated", `this token is not accepted: ${why}`, {
    ...(cause === undefined ? {} : { cause }),
  });
}
