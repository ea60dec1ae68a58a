// Credentials of SSH targets: a certificate of a key made for one session, or the key or password the
// gateway keeps for an account. They live as long as the session and are in nobody's reach but the
// upstream connection's.

import type { KeyObject } from "node:crypto";
import { Secret } from "../../base/secret.ts";
import type { ResolveSecret } from "../../credential/secrets.ts";
import { describeChain } from "../../delegation/chain.ts";
import type { CredentialBroker, LeaseRequest } from "../../session/broker.ts";
import type { UpstreamCredential } from "../../session/control.ts";
import type { SshTarget } from "../../target/target.ts";
import { type CertificateDeps, sessionCertificate } from "./certificates.ts";

export interface SshBrokerDeps extends CertificateDeps {
  readonly targetCa: KeyObject;
  readonly resolveSecret: ResolveSecret;
}

export function createSshBroker(deps: SshBrokerDeps): CredentialBroker<SshTarget> {
  return {
    async lease(request) {
      const credential = await credentialFor(deps, request);
      const lease = { credential, attach: () => undefined, release: async () => undefined };
      if (credential.kind !== "ssh-certificate") return lease;
      return { ...lease, forCommand: (line) => credentialFor(deps, request, line) };
    },
    // A session that ends signals what it runs and closes its own connection: there is no other way in.
    endBackends: async () => undefined,
  };
}

async function credentialFor(
  deps: SshBrokerDeps,
  { target, account: name, sessionId, chain, expiresAtMs }: LeaseRequest<SshTarget>,
  command?: string,
): Promise<UpstreamCredential> {
  const account = target.accounts.find((one) => one.name === name);
  if (account === undefined) throw new RangeError(`no account ${name}`);
  const { user, credential } = account;
  switch (credential.kind) {
    case "password":
      return { kind: "password", user, password: await deps.resolveSecret(credential.password) };
    case "key":
      return { kind: "ssh-key", user, privateKey: await deps.resolveSecret(credential.key) };
    case "certificate": {
      const made = await sessionCertificate(deps, deps.targetCa, {
        sessionId,
        chain: describeChain(chain),
        principals: credential.principals,
        expiresAtMs,
        sourceAddress: credential.sourceAddress,
        command,
      });
      const pem = made.privateKey.export({ type: "pkcs8", format: "pem" }).toString();
      const certificate = made.certificate.toString("base64");
      return { kind: "ssh-certificate", user, privateKey: new Secret(pem), certificate };
    }
  }
}
