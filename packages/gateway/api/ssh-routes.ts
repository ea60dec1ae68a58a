// Certificates for SSH clients, and the authorities around them. Which delegation a certificate is for
// is on record before anybody has it.

import { GatewayError } from "../base/errors.ts";
import { leafOf } from "../delegation/chain.ts";
import { leafChain } from "../delegation/leaf-chain.ts";
import type { ApiDeps } from "./deps.ts";
import type { Router } from "./routing.ts";

export function addSshRoutes(router: Router, deps: ApiDeps): void {
  const ssh = () => {
    if (deps.ssh !== undefined) return deps.ssh;
    throw new GatewayError("not_found", "this gateway has no SSH door");
  };
  router.holder("sshAuthorities", async () => ssh().authorities);
  router.holder("sshCertificate", async ({ chain, body }) => {
    const made = await ssh().certify(body.publicKey, chain);
    deps.evidence.journal.append({
      event: "certificate.issued",
      chain: leafChain(chain),
      detail: { delegation: leafOf(chain).delegationId, key: made.fingerprint },
    });
    await deps.evidence.journal.settled();
    return { certificate: made.certificate, expiresAt: new Date(made.expiresAtMs).toISOString() };
  });
}
