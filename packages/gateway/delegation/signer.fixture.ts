// What a holder of a key signs, for tests: proofs, hop statements, presentations. Made with Node's crypto
// alone, so that nothing the gateway verifies with is used to make what it verifies.

import { createHash, generateKeyPairSync, type KeyObject, randomUUID, sign } from "node:crypto";
import { type PublicKey, readPublicKey } from "./key.ts";

export interface Signer {
  readonly key: PublicKey;
  /** A compact JWS of exactly these members. */
  jws(header: object, claims: object): string;
}

export function newSigner(algorithm: "EdDSA" | "ES256" = "EdDSA"): Signer {
  const pair =
    algorithm === "EdDSA"
      ? generateKeyPairSync("ed25519")
      : generateKeyPairSync("ec", { namedCurve: "P-256" });
  const key = readPublicKey(pair.publicKey.export({ format: "jwk" }));
  if (key === undefined) throw new Error("no key");
  return {
    key,
    jws: (header, claims) => signed(pair.privateKey, { alg: algorithm, ...header }, claims),
  };
}

function signed(privateKey: KeyObject, header: object, claims: object): string {
  const input = `${encoded(header)}.${encoded(claims)}`;
  const digest = privateKey.asymmetricKeyType === "ec" ? "sha256" : null;
  const signature = sign(digest, Buffer.from(input), {
    key: privateKey,
    dsaEncoding: "ieee-p1363",
  });
  return `${input}.${signature.toString("base64url")}`;
}

export interface ProofOptions {
  readonly method?: string;
  readonly url: string;
  readonly nowMs: number;
  readonly credential?: string;
  readonly claims?: object;
  readonly header?: object;
}

export function dpop(signer: Signer, options: ProofOptions): string {
  const { credential } = options;
  return signer.jws(
    { typ: "dpop+jwt", jwk: signer.key.jwk, ...options.header },
    {
      jti: randomUUID(),
      htm: options.method ?? "POST",
      htu: options.url,
      iat: Math.floor(options.nowMs / 1000),
      ...(credential === undefined ? {} : { ath: sha256(credential) }),
      ...options.claims,
    },
  );
}

export function presentation(
  signer: Signer,
  base: string,
  at: { readonly issuer: string; readonly nowMs: number },
  changes: object = {},
): string {
  const iat = Math.floor(at.nowMs / 1000);
  const claims = { aud: at.issuer, cth: sha256(base), iat, exp: iat + 300, ...changes };
  return signer.jws({ typ: "custody-presentation+jwt" }, claims);
}

/** Every member of a hop statement; `changes` replace them, undefined takes one away. */
export function hopStatement(
  signer: Signer,
  claims: {
    readonly aud: string;
    readonly root: string;
    readonly parent: string;
    readonly parent_hash: string | null;
    readonly depth: number;
    readonly iat: number;
    readonly exp: number;
    readonly authorization_details: unknown;
    readonly actor: object;
    readonly cnf: object | null;
  },
  changes: object = {},
): string {
  return signer.jws({ typ: "custody-hop+jwt" }, { ...claims, jti: randomUUID(), ...changes });
}

export function sha256(text: string): string {
  return createHash("sha256").update(text).digest("base64url");
}

function encoded(value: object): string {
  return Buffer.from(JSON.stringify(value)).toString("base64url");
}
