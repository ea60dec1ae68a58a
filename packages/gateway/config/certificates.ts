// The certificate every listener shows, renewed while the gateway runs: from the gateway's CA (30
// days, renewed in the last third, its key never on disk) or the operator's own files, read again when
// they change. A renewal is for connections that come after it; open sessions keep what they have.
//
// Who owns the state: the object returned here owns the current certificate and its timer.

import { createPrivateKey, X509Certificate } from "node:crypto";
import { readFileSync, statSync } from "node:fs";
import { hostname } from "node:os";

import type { Clock } from "../base/clock.ts";
import { GatewayError } from "../base/errors.ts";
import { type CertificateAuthority, fingerprintOf, openCa } from "./ca.ts";
import type { Config } from "./config.ts";

const DAY_MS = 86_400_000;
const LEAF_LIFE_MS = 30 * DAY_MS;
const RENEW_BEFORE_MS = LEAF_LIFE_MS / 3;
const BACKDATE_MS = 3_600_000;
const CHECK_EVERY_MS = 60_000;

/** PEM texts, fit for `tls.createSecureContext` and `server.setSecureContext`. */
export interface ListenerTls {
  readonly key: string;
  /** The leaf first, then what it was signed by. */
  readonly cert: string;
  /** What clients are to trust: the gateway's CA, or the operator's chain without its leaf. */
  readonly ca: string;
}

export interface Certificates extends Disposable {
  current(): ListenerTls;
  /** Called with what is current after each renewal. */
  onRenew(listener: (tls: ListenerTls) => void): void;
  /** SHA-256 of what clients are to trust, `AB:CD:…`: `custody login … --ca-fingerprint`. */
  readonly fingerprint: string;
  /** Looks whether it is time; true when something was renewed. Runs by itself every minute. */
  check(): Promise<boolean>;
}

export interface CertificatesDeps {
  readonly clock: Clock;
  readonly config: Pick<Config, "dataDirectory" | "hostnames" | "listen" | "tls">;
  /** A renewal failed; what was current stays so, and it is tried again. */
  readonly onProblem: (error: GatewayError) => void;
}

interface Source {
  /** undefined: what is current is still good. */
  renew(): Promise<Loaded | undefined>;
}

interface Loaded {
  readonly tls: ListenerTls;
  readonly fingerprint: string;
}

/** Throws GatewayError "configuration" when there is no usable certificate to begin with. */
export async function createCertificates(deps: CertificatesDeps): Promise<Certificates> {
  const own = deps.config.tls;
  const source = own
    ? fileSource(own, deps.clock)
    : caSource(await openCa(deps.config.dataDirectory, deps.clock.nowMs()), deps);
  const first = await source.renew();
  if (!first) throw new GatewayError("internal", "no certificate was made");
  let loaded = first;
  let checking: Promise<boolean> | undefined;
  const listeners: ((tls: ListenerTls) => void)[] = [];
  const check = async (): Promise<boolean> => {
    try {
      const renewed = await source.renew();
      if (!renewed) return false;
      loaded = renewed;
      for (const listener of listeners) listener(renewed.tls);
      return true;
    } catch (error) {
      deps.onProblem(
        error instanceof GatewayError
          ? error
          : new GatewayError("internal", "the certificate was not renewed", { cause: error }),
      );
      return false;
    } finally {
      checking = undefined;
    }
  };
  const checkOnce = () => (checking ??= check());
  const timer = setInterval(checkOnce, CHECK_EVERY_MS).unref();
  return {
    current: () => loaded.tls,
    onRenew: (listener) => void listeners.push(listener),
    get fingerprint() {
      return loaded.fingerprint;
    },
    check: checkOnce,
    [Symbol.dispose]: () => clearInterval(timer),
  };
}

/** Names a client may use for these listeners, the configured ones first. */
export function certificateHosts(config: Pick<Config, "hostnames" | "listen">): readonly string[] {
  const hosts = new Set(config.hostnames);
  for (const address of Object.values(config.listen)) {
    if (address === undefined) continue;
    if (address.host === "0.0.0.0" || address.host === "::") hosts.add(hostname());
    else hosts.add(address.host);
  }
  for (const host of ["localhost", "127.0.0.1", "::1"]) hosts.add(host);
  return [...hosts];
}

function caSource(ca: CertificateAuthority, deps: CertificatesDeps): Source {
  const hosts = certificateHosts(deps.config);
  let renewAtMs = Number.NEGATIVE_INFINITY;
  return {
    renew: async () => {
      const nowMs = deps.clock.nowMs();
      if (nowMs < renewAtMs) return undefined;
      const notAfterMs = nowMs + LEAF_LIFE_MS;
      const notBeforeMs = nowMs - BACKDATE_MS;
      const issued = await ca.issue({ hosts, notBeforeMs, notAfterMs });
      renewAtMs = notAfterMs - RENEW_BEFORE_MS;
      return {
        // The CA goes along, so that a client that knows only its fingerprint can fetch it.
        tls: {
          key: issued.keyPem,
          cert: issued.certificatePem + ca.certificatePem,
          ca: ca.certificatePem,
        },
        fingerprint: ca.fingerprint,
      };
    },
  };
}

function fileSource(files: NonNullable<Config["tls"]>, clock: Clock): Source {
  let seen = "";
  return {
    renew: async () => {
      const stamp = [files.cert, files.key].map(stampOf).join(" ");
      if (stamp === seen) return undefined;
      const loaded = loadFiles(files, clock.nowMs());
      seen = stamp;
      return loaded;
    },
  };
}

function loadFiles(files: NonNullable<Config["tls"]>, nowMs: number): Loaded {
  let chain: string[] = [];
  let key = "";
  let problem = "is not a certificate with its key";
  try {
    chain = certificatesIn(readFileSync(files.cert, "utf8"));
    key = readFileSync(files.key, "utf8");
    const leaf = new X509Certificate(chain[0] ?? "");
    if (!leaf.checkPrivateKey(createPrivateKey(key))) problem = `does not belong to ${files.key}`;
    else if (leaf.validToDate.getTime() < nowMs) problem = "has expired";
    else problem = "";
  } catch (error) {
    throw new GatewayError("configuration", `${files.cert} and ${files.key} cannot be used`, {
      hint: "both must be PEM files this user may read; an encrypted key cannot be used",
      cause: error,
    });
  }
  if (problem !== "") throw new GatewayError("configuration", `${files.cert} ${problem}`);
  const above = chain.slice(1);
  const trusted = above.at(-1) ?? chain[0] ?? "";
  return {
    tls: { key, cert: chain.join(""), ca: above.length > 0 ? above.join("") : trusted },
    fingerprint: fingerprintOf(trusted),
  };
}

function certificatesIn(pem: string): string[] {
  const found = pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
  return found.map((certificate) => `${certificate}\n`);
}

function stampOf(file: string): string {
  const stat = statSync(file, { throwIfNoEntry: false });
  return stat ? `${stat.ino}:${stat.size}:${stat.mtimeMs}` : "none";
}
