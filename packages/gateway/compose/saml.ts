// SAML sign-in, where a provider for it is configured.

import type { Clock } from "../base/clock.ts";
import { systemRandom } from "../base/ids.ts";
import type { Config } from "../config/config.ts";
import { createSaml, type Saml } from "../identity/saml.ts";
import { openSamlKeys } from "../identity/saml-keys.ts";

/** undefined: there is no SAML provider, and no key is made for one. */
export async function composeSaml(
  { samlProviders, dataDirectory, limits }: Config,
  baseUrl: string,
  clock: Clock,
): Promise<Saml | undefined> {
  if (samlProviders.size === 0) return undefined;
  const keys = await openSamlKeys(dataDirectory, clock);
  const providers = [...samlProviders.values()];
  const { clockSkewMs } = limits;
  return createSaml({ providers, baseUrl, keys, clockSkewMs, clock, random: systemRandom });
}
