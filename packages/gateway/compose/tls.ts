// The gateway's certificate as the listeners take it: each is told of a renewal, none is restarted.

import { createSecureContext, type SecureContext } from "node:tls";
import type { ApiTls } from "../api/deps.ts";
import type { Certificates, ListenerTls } from "../config/certificates.ts";

export function apiTls(certificates: Certificates): ApiTls {
  return {
    current: () => certificates.current(),
    onRenew(listener) {
      let listening = true;
      certificates.onRenew(() => {
        if (listening) listener();
      });
      return () => {
        listening = false;
      };
    },
  };
}

/** Clients' certificates are asked for, and without a name of its own no session of such a door resumes. */
export function listenerContext({ cert, key }: Pick<ListenerTls, "cert" | "key">): SecureContext {
  return createSecureContext({ key, cert, minVersion: "TLSv1.2", sessionIdContext: "custody" });
}

/** One context until the certificate is renewed. */
export function contextOf(certificates: Certificates): () => SecureContext {
  const make = () => {
    const { key, cert } = certificates.current();
    return listenerContext({ key, cert });
  };
  let context = make();
  certificates.onRenew(() => {
    context = make();
  });
  return () => context;
}
