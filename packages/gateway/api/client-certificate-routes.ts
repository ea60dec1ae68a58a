// Certificates for clients of the doors that speak TLS. Which delegation a certificate is for is on record
// before anybody has it.

import { expiryOf, leafOf } from "../delegation/chain.ts";
import { leafChain } from "../delegation/leaf-chain.ts";
import type { ApiDeps } from "./deps.ts";
import type { Router } from "./routing.ts";

export function addClientCertificateRoutes(router: Router, deps: ApiDeps): void {
  router.holder("clientCertificate", async ({ chain, body }) => {
    const delegation = leafOf(chain).delegationId;
    const made = await deps.clientAuthority.certify({
      ...{ publicKey: body.publicKey, delegationId: delegation, expiresAtMs: expiryOf(chain) },
      nowMs: deps.outside.clock.nowMs(),
    });
    deps.evidence.journal.append({
      event: "certificate.issued",
      chain: leafChain(chain),
      detail: { delegation, certificate: made.fingerprint },
    });
    await deps.evidence.journal.settled();
    return {
      certificate: made.certificatePem,
      expiresAt: new Date(made.expiresAtMs).toISOString(),
    };
  });
}
