// Signing in with a SAML provider: metadata, the browser's start and the provider's response. The command
// line that opened the browser redeems the code at the token endpoint.

import { GatewayError } from "../base/errors.ts";
import type { Saml } from "../identity/saml.ts";
import type { ApiDeps } from "./deps.ts";
import type { Router } from "./routing.ts";

export function addSamlRoutes(router: Router, deps: ApiDeps): void {
  const { journal } = deps.evidence;
  const service = (): Saml => {
    const { saml } = deps.delegations.providers;
    if (saml !== undefined) return saml;
    throw new GatewayError("not_found", "this gateway has no SAML provider");
  };
  router.anyone("samlMetadata", async ({ parameters, reply }) => {
    const metadata = service().metadata(parameters.provider ?? "");
    reply.type("application/samlmetadata+xml");
    return metadata;
  });
  router.anyone("samlLogin", async ({ parameters, query, reply }) => {
    const { code_challenge: challenge, port, state } = query;
    const beginning = { challenge, port: Number(port), state };
    const url = await service().begin(parameters.provider ?? "", beginning);
    reply.code(302).header("location", url.href);
    return "";
  });
  router.anyone("samlAnswer", async ({ parameters, body, reply }) => {
    const { SAMLResponse: response, RelayState: relayState } = body;
    const provider = parameters.provider ?? "";
    const answer = await service().answer(provider, response, relayState);
    if (answer.kind === "shown") {
      // Nothing of what was sent is repeated in it.
      reply
        .type("text/html; charset=utf-8")
        .header("content-security-policy", "default-src 'none'; frame-ancestors 'none'")
        .header("referrer-policy", "no-referrer");
      return codePage(provider, answer.code);
    }
    const { url, refusal } = answer;
    if (refusal !== undefined)
      journal.append({ event: "delegation.refused", outcome: "access_denied" });
    // 303: the command line is asked with GET, and the response is not sent on.
    reply.code(303).header("location", url.href);
    return "";
  });
}

/** Both are letters, digits and dashes. */
function codePage(provider: string, code: string): string {
  return `<!doctype html><html lang="en"><title>Custody</title><h1>Custody</h1>
<p>Within a minute, on the machine you work on:</p>
<pre>custody login --provider ${provider} --code ${code}</pre>
<p>If you did not mean to sign in, close this page.</p></html>
`;
}

export function samlViews(saml: Saml | undefined) {
  return (saml?.providers ?? []).map(({ name, entityId }) => ({
    name,
    issuer: entityId,
    clientId: saml?.entityId(name) ?? "",
    scopes: [],
    flows: ["saml" as const],
    ca: null,
    insecureHttp: false,
  }));
}
