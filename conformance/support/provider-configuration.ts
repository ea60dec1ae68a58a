// The provider of a test stage as custody.yaml has it: one of people, `corp`, whose names are its accounts'.

import type { TestOidcProvider } from "./oidc-provider.ts";

/**
 * `caFile`: where the provider's authority was put, as YAML writes it. Ends with a line break, so that more may
 * follow.
 */
export function providerConfiguration(
  { clientId, issuer }: Pick<TestOidcProvider, "clientId" | "issuer">,
  caFile: string,
): string {
  return `providers:
  corp:
    oidc:
      issuer: ${issuer}
      audience: ${clientId}
      caFile: ${caFile}
      kind: users
      username: preferred_username
      groups: groups
      algorithms: [ES256]
`;
}
