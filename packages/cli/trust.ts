// Trust on a fingerprint: fetches what a gateway shows and takes the one certificate whose SHA-256 is
// the given one. Nothing is sent on this connection, and the next one is verified in full against it.

import { X509Certificate } from "node:crypto";
import { isIP } from "node:net";
import { connect, type DetailedPeerCertificate } from "node:tls";

import { CliError } from "./faults.ts";

const TIMEOUT_MS = 10_000;
/** Longer chains are no gateway's. */
const MAX_CHAIN = 10;

/** PEM of the certificate with this fingerprint (`AB:CD:…`, colons and case do not matter). */
export async function fetchCa(url: URL, fingerprint: string): Promise<string> {
  const wanted = normalise(fingerprint);
  if (wanted.length !== 64)
    throw new CliError("usage", "a fingerprint is 64 hexadecimal digits of SHA-256", {
      hint: "`custody init` and `custody serve` print it",
    });
  const shown = await shownBy(url);
  for (const certificate of shown)
    if (normalise(certificate.fingerprint256) === wanted) return `${certificate.toString()}`;
  throw new CliError(
    "refused",
    `${url.host} shows no certificate with this fingerprint; nothing was sent to it`,
    {
      hint:
        "compare it with what `custody serve` printed; if that is the same, somebody stands between " +
        `(it showed ${shown.at(-1)?.fingerprint256 ?? "none"})`,
    },
  );
}

function shownBy(url: URL): Promise<readonly X509Certificate[]> {
  const host = url.hostname.replace(/^\[(.*)\]$/, "$1");
  return new Promise((resolve, reject) => {
    const socket = connect({
      host,
      port: Number(url.port || 443),
      ...(isIP(host) === 0 && { servername: host }),
      // Only to look: what is taken from here is checked against the fingerprint.
      rejectUnauthorized: false,
    });
    const fail = (reason: string, cause?: unknown) => {
      socket.destroy();
      const hint = "is the address right, and is it running? custody serve prints where it listens";
      reject(new CliError("unreachable", `${url.host} ${reason}`, { hint, cause }));
    };
    socket.setTimeout(TIMEOUT_MS, () => fail("did not answer in 10 s"));
    socket.on("error", (error) => fail("cannot be reached over TLS", error));
    socket.on("secureConnect", () => {
      const chain: X509Certificate[] = [];
      let next: DetailedPeerCertificate | undefined = socket.getPeerCertificate(true);
      while (next?.raw !== undefined && chain.length < MAX_CHAIN) {
        chain.push(new X509Certificate(next.raw));
        const issuer: DetailedPeerCertificate | undefined = next.issuerCertificate;
        next = issuer === next ? undefined : issuer;
      }
      socket.destroy();
      resolve(chain);
    });
  });
}

function normalise(fingerprint: string): string {
  return fingerprint.replaceAll(/[^0-9a-fA-F]/g, "").toLowerCase();
}
