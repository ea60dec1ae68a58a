// A provider's signing keys: OpenID Connect Discovery 1.0 and RFC 7517, fetched over HTTPS and kept.
//
// Owns the cache. Keys are read again when they are older than FRESH_MS and when a token names a key
// that is not among them, but not more often than COOLDOWN_MS, so that forged key ids do not make us
// hammer the provider. While the provider is down the keys of the last success are used, for at most
// `staleMs`: a key it withdrew meanwhile is honoured no longer than that.

import { readFile } from "node:fs/promises";
import {
  createLocalJWKSet,
  errors,
  type JSONWebKeySet,
  type JWK,
  type JWTVerifyGetKey,
} from "jose";
import type { Agent } from "undici";
import type { Clock } from "../base/clock.ts";
import { GatewayError } from "../base/errors.ts";
import { discover, fetchJson, type ProviderPlace, providerAgent } from "./provider-http.ts";
import { isWeakRsa } from "./rsa-keys.ts";

const FRESH_MS = 10 * 60_000;
const COOLDOWN_MS = 30_000;

export interface ProviderKeys extends AsyncDisposable {
  /** For jose; throws GatewayError "dependency_unavailable" when there is no usable key set. */
  readonly getKey: JWTVerifyGetKey;
}

export interface KeySource extends ProviderPlace {
  readonly name: string;
  /** Where the keys are when not where discovery says. */
  readonly keys: { readonly url: string } | { readonly file: string } | undefined;
  /** How long known keys are used while the provider cannot be reached. */
  readonly staleMs: number;
}

interface Cached {
  readonly resolve: JWTVerifyGetKey;
  readonly atMs: number;
}

export function createProviderKeys(source: KeySource, clock: Clock): ProviderKeys {
  const agent = providerAgent(source);
  let cached: Cached | undefined;
  let triedAtMs = Number.NEGATIVE_INFINITY;
  let failure: unknown;
  let running: Promise<void> | undefined;

  const refresh = (): Promise<void> => {
    running ??= (async () => {
      triedAtMs = clock.monotonicMs();
      try {
        const keys = await fetchKeys(source, agent);
        cached = { resolve: createLocalJWKSet(keys), atMs: clock.monotonicMs() };
        failure = undefined;
      } catch (thrown) {
        failure = thrown;
      } finally {
        running = undefined;
      }
    })();
    return running;
  };
  const ageMs = (): number =>
    cached === undefined ? Number.POSITIVE_INFINITY : clock.monotonicMs() - cached.atMs;
  const mayTry = (): boolean => clock.monotonicMs() - triedAtMs >= COOLDOWN_MS;

  return {
    getKey: async (header, token) => {
      if (running !== undefined || (ageMs() >= FRESH_MS && mayTry())) await refresh();
      if (cached === undefined || ageMs() >= FRESH_MS + source.staleMs)
        throw unavailable(source, failure);
      try {
        return await cached.resolve(header, token);
      } catch (thrown) {
        if (!(thrown instanceof errors.JWKSNoMatchingKey) || !mayTry()) throw thrown;
        await refresh();
        // A key we do not know while the provider is down may well be a good one: say which it is.
        if (failure !== undefined) throw unavailable(source, failure);
        return await cached.resolve(header, token);
      }
    },
    [Symbol.asyncDispose]: () => agent.destroy(),
  };
}

async function fetchKeys(source: KeySource, agent: Agent): Promise<JSONWebKeySet> {
  const { keys } = source;
  if (keys !== undefined && "file" in keys)
    return keySet(JSON.parse(await readFile(keys.file, "utf8")));
  if (keys !== undefined) return keySet(await fetchJson(source, agent, keys.url));
  const discovery = await discover(source, agent);
  if (typeof discovery.jwks_uri !== "string") throw new TypeError("no jwks_uri was found");
  return keySet(await fetchJson(source, agent, discovery.jwks_uri));
}

/** The usable keys of a JWK set or SPIFFE bundle. Throws TypeError. */
export function keySet(document: unknown): JSONWebKeySet {
  const { keys } = Object(document);
  if (!Array.isArray(keys)) throw new TypeError("the key set has no keys");
  const usable: JWK[] = [];
  for (const key of keys) {
    const { kty, use, n, e } = Object(key);
    // Symmetric keys have no place in a public key set and would invite algorithm confusion; a trust
    // bundle also holds X.509 authorities (SPIFFE Trust Domain and Bundle section 4.2.2).
    if (kty === "oct" || use === "x509-svid") continue;
    if (kty === "RSA" && isWeakRsa(n, e)) continue;
    usable.push(use === "jwt-svid" ? { ...key, use: "sig" } : key);
  }
  return { keys: usable };
}

function unavailable(source: KeySource, cause: unknown): GatewayError {
  return new GatewayError(
    "dependency_unavailable",
    `the keys of the identity provider ${source.name} cannot be read; nobody can sign in with it now`,
    { hint: "try again; delegations that exist go on working", cause },
  );
}
