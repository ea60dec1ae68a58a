// The OpenSSH certificates the gateway makes (PROTOCOL.certkeys), each signed by an authority of its own
// (credential/ssh-keys.ts):
//
//   for itself     a host certificate, so that one line of known_hosts is enough for clients
//   for clients    a user certificate that names a delegation in a critical option of ours: sshd refuses
//                  what it does not know, so that the certificate opens nothing but this gateway
//   for targets    a user certificate of a key that is made for one session and never leaves the gateway
//
// Clocks of others may be behind ours: certificates begin a little before they are made.

import { generateKeyPairSync, type KeyObject } from "node:crypto";
import {
  type CertificateOption,
  type CertificateProblem,
  type CertificateSigner,
  parseCertificate,
  type SshCertificate,
  signCertificate,
  verifyCertificate,
} from "@custody/wire/ssh/certificate.ts";
import { publicKeyBlob, publicKeyLine, signBlob } from "@custody/wire/ssh/keys.ts";
import type { Clock } from "../../base/clock.ts";
import { GatewayError } from "../../base/errors.ts";
import type { RandomBytes } from "../../base/ids.ts";
import { matchesAddressList } from "./address-list.ts";

export interface CertificateDeps {
  readonly clock: Pick<Clock, "nowMs">;
  readonly random: RandomBytes;
}

/** The critical option of a client's certificate; its value is the delegation's id. */
export const DELEGATION_OPTION = "delegation@custody";
/** Of clients' certificates: not the name of an account anywhere. */
export const CLIENT_PRINCIPAL = "custody";

const BACKDATE_SECONDS = 120;
const COMMAND_LIFE_MS = 120_000;
const HOST_LIFE_SECONDS = 30 * 86_400;
const MAX_KEY_ID_LENGTH = 512;
const NONCE_BYTES = 32;

/** A public key line (`ssh-ed25519 AAAA… comment`) of an authority or key. */
export function publicLine(key: KeyObject, comment: string): string {
  return publicKeyLine(publicKeyBlob(key), comment);
}

/** The gateway's host certificate, for the names and addresses clients use. */
export function hostCertificate(
  deps: CertificateDeps,
  keys: { readonly host: KeyObject; readonly hostCa: KeyObject },
  names: readonly string[],
): Promise<Buffer> {
  const now = nowSeconds(deps);
  return signCertificate(
    {
      ...unique(deps),
      publicKey: publicKeyBlob(keys.host),
      role: "host",
      keyId: "custody gateway",
      principals: names,
      validAfter: BigInt(now - BACKDATE_SECONDS),
      validBefore: BigInt(now + HOST_LIFE_SECONDS),
      criticalOptions: [],
      extensions: [],
    },
    signerOf(keys.hostCa),
  );
}

export interface ClientCertificateRequest {
  readonly delegationId: string;
  /** Who it is for, for people: the chain. */
  readonly keyId: string;
  /** Plain public key blob. */
  readonly publicKey: Buffer;
  readonly notAfterMs: number;
}

/** A certificate for a client of this gateway. */
export function clientCertificate(
  deps: CertificateDeps,
  userCa: KeyObject,
  request: ClientCertificateRequest,
): Promise<Buffer> {
  return signCertificate(
    {
      ...unique(deps),
      publicKey: request.publicKey,
      role: "user",
      keyId: plainKeyId(request.keyId),
      principals: [CLIENT_PRINCIPAL],
      validAfter: BigInt(nowSeconds(deps) - BACKDATE_SECONDS),
      validBefore: BigInt(Math.ceil(request.notAfterMs / 1000)),
      criticalOptions: [{ name: DELEGATION_OPTION, value: request.delegationId }],
      // OpenSSH's client asks for nothing that its certificate does not allow.
      extensions: PERMITTED.map((name) => ({ name, value: undefined })),
    },
    signerOf(userCa),
  );
}

/**
 * The delegation a client's certificate stands for. That the client has its key is proved to the
 * listener. Throws GatewayError "unauthenticated".
 */
export function delegationOf(
  deps: Pick<CertificateDeps, "clock">,
  userCa: KeyObject,
  blob: Buffer,
  clientAddress: string,
): string {
  const verdict = verifyCertificate(parsed(blob), {
    role: "user",
    principal: CLIENT_PRINCIPAL,
    authorities: [publicKeyBlob(userCa)],
    nowSeconds: nowSeconds(deps),
    criticalOptions: [DELEGATION_OPTION, "source-address"],
    signatureAlgorithms: ["ssh-ed25519"],
  });
  if (!verdict.valid) throw refused(PROBLEMS[verdict.problem]);
  const { criticalOptions } = verdict.certificate;
  const source = optionOf(criticalOptions, "source-address");
  if (source !== undefined && !matchesAddressList(source.value ?? "", clientAddress))
    throw refused("is not for this address");
  const delegation = optionOf(criticalOptions, DELEGATION_OPTION);
  if (delegation?.value === undefined) throw refused("names no delegation");
  return delegation.value;
}

export interface SessionCertificateRequest {
  readonly sessionId: string;
  /** The chain, for the target's own log. */
  readonly chain: string;
  readonly principals: readonly string[];
  readonly expiresAtMs: number;
  /** Addresses the target takes it from, as sshd's source-address writes them. */
  readonly sourceAddress: string | undefined;
  /** All that may be run with it, whatever is asked; undefined: what is asked. */
  readonly command: string | undefined;
}

/** A key for one session and its certificate, for the target. */
export async function sessionCertificate(
  deps: CertificateDeps,
  targetCa: KeyObject,
  request: SessionCertificateRequest,
): Promise<{ readonly privateKey: KeyObject; readonly certificate: Buffer }> {
  const { privateKey } = generateKeyPairSync("ed25519");
  const { command, sourceAddress } = request;
  // One command is begun at once; its connection lives on when the certificate does not.
  const expiresAtMs =
    command === undefined
      ? request.expiresAtMs
      : Math.min(request.expiresAtMs, deps.clock.nowMs() + COMMAND_LIFE_MS);
  const certificate = await signCertificate(
    {
      ...unique(deps),
      publicKey: publicKeyBlob(privateKey),
      role: "user",
      keyId: plainKeyId(`custody ${request.sessionId} ${request.chain}`),
      principals: request.principals,
      validAfter: BigInt(nowSeconds(deps) - BACKDATE_SECONDS),
      validBefore: BigInt(Math.ceil(expiresAtMs / 1000)),
      criticalOptions: [
        ...(command === undefined ? [] : [{ name: "force-command", value: command }]),
        ...(sourceAddress === undefined ? [] : [{ name: "source-address", value: sourceAddress }]),
      ],
      extensions: (command === undefined ? PERMITTED : ["permit-pty"]).map((name) => ({
        name,
        value: undefined,
      })),
    },
    signerOf(targetCa),
  );
  return { privateKey, certificate };
}

/** What policies decide about; sorted, as certificates have them. */
const PERMITTED = [
  "permit-X11-forwarding",
  "permit-agent-forwarding",
  "permit-port-forwarding",
  "permit-pty",
];

const PROBLEMS: Readonly<Record<CertificateProblem, string>> = {
  authority: "is not one of this gateway's",
  signature: "is not one of this gateway's",
  role: "is not one of a client",
  "not-yet-valid": "is not valid yet",
  expired: "has expired",
  principal: "is not one for this gateway",
  "critical-option": "has a critical option that is unknown here",
};

function parsed(blob: Buffer): SshCertificate {
  try {
    return parseCertificate(blob);
  } catch (cause) {
    throw refused("cannot be read", cause);
  }
}

function refused(why: string, cause?: unknown): GatewayError {
  return new GatewayError("unauthenticated", `this certificate ${why}`, {
    hint: "custody ssh-cert makes one",
    ...(cause === undefined ? {} : { cause }),
  });
}

function optionOf(
  options: readonly CertificateOption[],
  name: string,
): CertificateOption | undefined {
  return options.find((option) => option.name === name);
}

function unique({ random }: CertificateDeps): { nonce: Buffer; serial: bigint } {
  return { nonce: random(NONCE_BYTES), serial: random(8).readBigUInt64BE() };
}

function nowSeconds({ clock }: Pick<CertificateDeps, "clock">): number {
  return Math.floor(clock.nowMs() / 1000);
}

function signerOf(key: KeyObject): CertificateSigner {
  return {
    publicKey: publicKeyBlob(key),
    sign: (data) => signBlob(key, "ssh-ed25519", data),
  };
}

/** One line of bounded length: it ends up in logs that others read by the line. */
function plainKeyId(text: string): string {
  return text.replaceAll(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, "?").slice(0, MAX_KEY_ID_LENGTH);
}
