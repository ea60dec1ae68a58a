// The key exchange methods: who initiates sends one value, who responds answers with one, both have the
// secret. curve25519-sha256 (RFC 8731), ecdh-sha2-nistp* (RFC 5656), diffie-hellman-group14/16 (RFC
// 8268), mlkem768x25519-sha256 (draft-ietf-sshm-mlkem-hybrid-kex). Every key is made here and used once.

import {
  createDiffieHellmanGroup,
  createECDH,
  createHash,
  createPublicKey,
  decapsulate,
  diffieHellman,
  encapsulate,
  generateKeyPairSync,
} from "node:crypto";
import { SshError } from "./errors.ts";
import { mpintField, type SshReader, stringField } from "./fields.ts";

export interface KexMethod {
  readonly name: string;
  readonly hash: "sha256" | "sha384" | "sha512";
  initiate(): Initiation;
  /** @throws SshError "exchange" for a value that cannot be */
  respond(initiatorValue: Buffer): KexResponse;
  /** The value's form in messages and in the exchange hash. */
  field(value: Buffer): Buffer;
  readValue(reader: SshReader): Buffer;
}

export interface Initiation {
  readonly value: Buffer;
  /** The shared secret as the exchange hash has it. @throws SshError "exchange" */
  finish(responderValue: Buffer): Buffer;
}

export interface KexResponse {
  readonly value: Buffer;
  readonly secret: Buffer;
}

export const KEX_METHODS: readonly KexMethod[] = [
  {
    name: "mlkem768x25519-sha256",
    hash: "sha256",
    initiate: initiateHybrid,
    respond: respondHybrid,
    ...asString(),
  },
  curve25519("curve25519-sha256"),
  curve25519("curve25519-sha256@libssh.org"),
  nistCurve("ecdh-sha2-nistp256", "prime256v1", 65, "sha256"),
  nistCurve("ecdh-sha2-nistp384", "secp384r1", 97, "sha384"),
  nistCurve("ecdh-sha2-nistp521", "secp521r1", 133, "sha512"),
  group("diffie-hellman-group16-sha512", "modp16", "sha512"),
  group("diffie-hellman-group14-sha256", "modp14", "sha256"),
];

interface AgreementPair {
  readonly value: Buffer;
  agree(other: Buffer): Buffer;
}

function fromPair(
  name: string,
  hash: KexMethod["hash"],
  makePair: () => AgreementPair,
  form: Pick<KexMethod, "field" | "readValue">,
): KexMethod {
  return {
    name,
    hash,
    initiate: () => {
      const pair = makePair();
      return { value: pair.value, finish: (other) => mpintField(agreed(pair, other)) };
    },
    respond: (other) => {
      const pair = makePair();
      return { value: pair.value, secret: mpintField(agreed(pair, other)) };
    },
    ...form,
  };
}

// OpenSSL refuses points off the curve and X25519 results that are all zero; we say so in one way.
function agreed(pair: AgreementPair, other: Buffer): Buffer {
  let secret: Buffer;
  try {
    secret = pair.agree(other);
  } catch (error) {
    if (error instanceof SshError) throw error;
    throw new SshError("exchange", "the peer's public value is not valid");
  }
  if (secret.every((byte) => byte === 0)) {
    throw new SshError("exchange", "the shared secret is zero");
  }
  return secret;
}

function curve25519(name: string): KexMethod {
  return fromPair(name, "sha256", x25519Pair, asString());
}

function x25519Pair(): AgreementPair {
  const { privateKey, publicKey } = generateKeyPairSync("x25519");
  const value = Buffer.from(publicKey.export({ format: "jwk" }).x ?? "", "base64url");
  return {
    value,
    agree: (other) => {
      if (other.length !== X25519_BYTES) {
        throw new SshError("exchange", `an X25519 value of ${other.length} bytes`);
      }
      const jwk = { kty: "OKP", crv: "X25519", x: other.toString("base64url") };
      return diffieHellman({
        privateKey,
        publicKey: createPublicKey({ key: jwk, format: "jwk" }),
      });
    },
  };
}

function nistCurve(
  name: string,
  curve: string,
  pointBytes: number,
  hash: KexMethod["hash"],
): KexMethod {
  const makePair = (): AgreementPair => {
    const ecdh = createECDH(curve);
    const value = ecdh.generateKeys();
    return {
      value,
      agree: (other) => {
        if (other.length !== pointBytes || other[0] !== 0x04) {
          throw new SshError("exchange", "a point that is not in uncompressed form");
        }
        return ecdh.computeSecret(other);
      },
    };
  };
  return fromPair(name, hash, makePair, asString());
}

function group(name: string, modp: string, hash: KexMethod["hash"]): KexMethod {
  const makePair = (): AgreementPair => {
    const pair = createDiffieHellmanGroup(modp);
    const prime = asNumber(pair.getPrime());
    return {
      value: pair.generateKeys(),
      agree: (other) => {
        // RFC 4253 section 8; 1 and p−1 would give the secret away.
        const value = other.length > MAX_GROUP_BYTES ? 0n : asNumber(other);
        if (value <= 1n || value >= prime - 1n) {
          throw new SshError("exchange", "a Diffie-Hellman value out of range");
        }
        return pair.computeSecret(other);
      },
    };
  };
  return fromPair(name, hash, makePair, {
    field: mpintField,
    readValue: (reader) => reader.mpint(),
  });
}

function asNumber(bytes: Buffer): bigint {
  return BigInt(`0x0${bytes.toString("hex")}`);
}

function asString(): Pick<KexMethod, "field" | "readValue"> {
  return { field: stringField, readValue: (reader) => reader.string() };
}

function initiateHybrid(): Initiation {
  const kem = generateKeyPairSync("ml-kem-768");
  const pair = x25519Pair();
  const encapsulationKey = kem.publicKey.export({ format: "der", type: "spki" });
  return {
    value: Buffer.concat([encapsulationKey.subarray(MLKEM_SPKI_PREFIX.length), pair.value]),
    finish: (other) => {
      if (other.length !== MLKEM_CIPHERTEXT_BYTES + X25519_BYTES) {
        throw new SshError("exchange", `a hybrid value of ${other.length} bytes`);
      }
      const ciphertext = other.subarray(0, MLKEM_CIPHERTEXT_BYTES);
      const fromKem = decapsulate(kem.privateKey, ciphertext);
      return hybridSecret(fromKem, agreed(pair, other.subarray(MLKEM_CIPHERTEXT_BYTES)));
    },
  };
}

function respondHybrid(other: Buffer): KexResponse {
  if (other.length !== MLKEM_KEY_BYTES + X25519_BYTES) {
    throw new SshError("exchange", `a hybrid value of ${other.length} bytes`);
  }
  const pair = x25519Pair();
  const { ciphertext, sharedKey } = encapsulated(other.subarray(0, MLKEM_KEY_BYTES));
  return {
    value: Buffer.concat([ciphertext, pair.value]),
    secret: hybridSecret(sharedKey, agreed(pair, other.subarray(MLKEM_KEY_BYTES))),
  };
}

// FIPS 203 section 7.2: a key that is not canonical is refused by OpenSSL when it is read.
function encapsulated(key: Buffer): { readonly ciphertext: Buffer; readonly sharedKey: Buffer } {
  try {
    const der = Buffer.concat([MLKEM_SPKI_PREFIX, key]);
    return encapsulate(createPublicKey({ key: der, format: "der", type: "spki" }));
  } catch {
    throw new SshError("exchange", "the peer's ML-KEM key is not valid");
  }
}

// The draft, section 2.4: a string, not an mpint.
function hybridSecret(fromKem: Buffer, fromCurve: Buffer): Buffer {
  return stringField(createHash("sha256").update(fromKem).update(fromCurve).digest());
}

const X25519_BYTES = 32;
const MLKEM_KEY_BYTES = 1184;
const MLKEM_CIPHERTEXT_BYTES = 1088;
const MAX_GROUP_BYTES = 512;
/** SubjectPublicKeyInfo of ML-KEM-768 (RFC 9935) up to the key. */
const MLKEM_SPKI_PREFIX = Buffer.from("308204b2300b0609608648016503040402038204a100", "hex");
