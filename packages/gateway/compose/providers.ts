// The identity providers of the configuration that holds now. A new one replaces all of them or none.

import type { Clock } from "../base/clock.ts";
import { systemRandom } from "../base/ids.ts";
import type { Config } from "../config/config.ts";
import type { ResolveSecret } from "../credential/secrets.ts";
import { createIdentities, type Identities } from "../identity/identities.ts";
import type { Saml } from "../identity/saml.ts";

export interface LiveProviders extends AsyncDisposable {
  readonly identity: Identities;
  /** undefined: there is no SAML provider now. */
  readonly saml: () => Saml | undefined;
  /** Throws GatewayError "configuration"; then all is as it was. */
  replace(next: Config): Promise<void>;
}

export interface ProviderDeps {
  readonly config: Config;
  readonly resolveSecret: ResolveSecret;
  /** The gateway's URL, where a SAML provider does not say another. */
  readonly baseUrl: string;
  readonly clock: Clock;
}

export async function composeProviders(deps: ProviderDeps): Promise<LiveProviders> {
  const { clock, resolveSecret } = deps;
  let current = deps.config;
  const { limits } = current;
  const identity = createIdentities(current, { resolveSecret, limits, clock });
  let saml = await samlOf(current, deps);
  return {
    identity,
    saml: () => saml,
    async replace(next) {
      // Sign-ins under way are in its memory: it is made anew only where it is another.
      const same = samlText(next) === samlText(current);
      const nextSaml = same ? saml : await samlOf(next, deps);
      identity.replace(next);
      saml = nextSaml;
      current = next;
    },
    [Symbol.asyncDispose]: async () => identity[Symbol.asyncDispose](),
  };
}

/** undefined: there is no SAML provider, and no key is made for one. */
async function samlOf(
  { samlProviders, dataDirectory, limits }: Config,
  { baseUrl, clock }: ProviderDeps,
): Promise<Saml | undefined> {
  if (samlProviders.size === 0) return undefined;
  // Its libraries are megabytes that a gateway without one does not need.
  const { createSaml } = await import("../identity/saml.ts");
  const { openSamlKeys } = await import("../identity/saml-keys.ts");
  const keys = await openSamlKeys(dataDirectory, clock);
  const providers = [...samlProviders.values()];
  const { clockSkewMs } = limits;
  return createSaml({ providers, baseUrl, keys, clockSkewMs, clock, random: systemRandom });
}

function samlText({ samlProviders }: Config): string {
  return JSON.stringify([...samlProviders]);
}

export function providerNames(config: Config): ReadonlySet<string> {
  const { providers, samlProviders, clusterProviders } = config;
  return new Set([...providers.keys(), ...samlProviders.keys(), ...clusterProviders.keys()]);
}
