// SCRAM-SHA-256 and SCRAM-SHA-256-PLUS, the client's side (RFC 5802, RFC 7677; channel binding
// tls-server-end-point, RFC 5929 section 4), and PostgreSQL's stored form of a verifier. PostgreSQL
// takes the user name from the start-up packet and ignores the one in here.

import { createHash, createHmac, pbkdf2, pbkdf2Sync, timingSafeEqual } from "node:crypto";
import { saslPrepared } from "../bytes/saslprep.ts";
import { WireError } from "./errors.ts";

export interface ScramOptions {
  readonly password: string;
  /** Fresh for each exchange: printable ASCII without a comma, 18 random bytes in base64 or more. */
  readonly nonce: string;
  /** What the server offers in AuthenticationSASL. */
  readonly mechanisms: readonly string[];
  /**
   * Hash of the server's certificate, by the hash of its signature or SHA-256 for older ones. Binds the
   * exchange to the TLS channel: PLUS is then used when offered, and a server that offers it and is
   * told by somebody in between that we cannot refuses. undefined: no TLS, or a kind without a hash.
   */
  readonly certificateHash?: Buffer | undefined;
  readonly user?: string | undefined;
  /** Below: a server, or somebody in its place, that makes guessing cheap. */
  readonly minIterations?: number | undefined;
  /** Above: one that makes us work. */
  readonly maxIterations?: number | undefined;
}

/** One exchange. Nobody is signed in before `verified`, whatever the server says. */
export interface ScramClient {
  readonly mechanism: string;
  /** For SASLInitialResponse. */
  readonly initialResponse: Buffer;
  /** Data of AuthenticationSASLContinue to that of SASLResponse. */
  respond(serverFirst: Buffer): Promise<Buffer>;
  /** Data of AuthenticationSASLFinal. @throws WireError "authentication" unless the server knows the password too. */
  verify(serverFinal: Buffer): void;
  readonly verified: boolean;
}

const SCRAM_SHA_256 = "SCRAM-SHA-256";
const SCRAM_SHA_256_PLUS = "SCRAM-SHA-256-PLUS";

/** @throws WireError "authentication" when the server offers neither mechanism, "syntax" for a password or nonce that cannot be used. */
export function scramClient(options: ScramOptions): ScramClient {
  const { certificateHash, nonce } = options;
  const password = preparedPassword(options.password);
  if (!NONCE.test(nonce)) throw new WireError("syntax", "a SCRAM nonce is printable ASCII");
  const mechanism = chosenMechanism(options);
  const header = gs2Header(mechanism, certificateHash);
  const clientFirstBare = `n=${escapedName(options.user ?? "")},r=${nonce}`;
  const binding = Buffer.concat([
    Buffer.from(header, "latin1"),
    mechanism === SCRAM_SHA_256_PLUS && certificateHash !== undefined
      ? certificateHash
      : Buffer.alloc(0),
  ]).toString("base64");
  let state: "begun" | "responding" | "responded" | "verified" | "failed" = "begun";
  let serverSignature: Buffer = Buffer.alloc(0);

  return {
    mechanism,
    initialResponse: Buffer.from(header + clientFirstBare, "utf8"),
    async respond(serverFirst) {
      if (state !== "begun") throw failure("the server's first message comes twice");
      state = "responding";
      const first = parseServerFirst(serverFirst, options);
      const withoutProof = `c=${binding},r=${first.nonce}`;
      const message = Buffer.from(
        `${clientFirstBare},${serverFirst.toString("latin1")},${withoutProof}`,
        "utf8",
      );
      const salted = await saltedPassword(password, first.salt, first.iterations);
      const { clientKey, storedKey, serverKey } = derivedKeys(salted);
      const proof = xor(clientKey, hmac(storedKey, message));
      serverSignature = hmac(serverKey, message);
      state = "responded";
      return Buffer.from(`${withoutProof},p=${proof.toString("base64")}`, "latin1");
    },
    verify(serverFinal) {
      if (state !== "responded") throw failure("the server's final message is out of order");
      state = "failed";
      const signature = parseServerFinal(serverFinal);
      if (!timingSafeEqual(signature, serverSignature)) {
        throw failure("the server does not know the password");
      }
      state = "verified";
    },
    get verified() {
      return state === "verified";
    },
  };
}

/**
 * What PostgreSQL keeps in pg_authid.rolpassword, and takes in `CREATE ROLE … PASSWORD '…'` so that the
 * password itself is never in a statement: `SCRAM-SHA-256$<iterations>:<salt>$<stored>:<server>`.
 */
export function scramVerifier(password: string, salt: Buffer, iterations: number): string {
  const { storedKey, serverKey } = derivedKeys(
    pbkdf2Sync(preparedPassword(password), salt, iterations, KEY_BYTES, "sha256"),
  );
  const keys = `${storedKey.toString("base64")}:${serverKey.toString("base64")}`;
  return `${SCRAM_SHA_256}$${iterations}:${salt.toString("base64")}$${keys}`;
}

function chosenMechanism(options: ScramOptions): string {
  const offered = options.mechanisms;
  if (options.certificateHash !== undefined && offered.includes(SCRAM_SHA_256_PLUS)) {
    return SCRAM_SHA_256_PLUS;
  }
  if (offered.includes(SCRAM_SHA_256)) return SCRAM_SHA_256;
  throw failure("the server offers no SCRAM-SHA-256");
}

// RFC 5802 section 6: "y" says that we could bind and think the server cannot; a server that can
// then knows that somebody took PLUS out of its offer.
function gs2Header(mechanism: string, certificateHash: Buffer | undefined): string {
  if (mechanism === SCRAM_SHA_256_PLUS) return "p=tls-server-end-point,,";
  return certificateHash === undefined ? "n,," : "y,,";
}

interface ServerFirst {
  readonly nonce: string;
  readonly salt: Buffer;
  readonly iterations: number;
}

function parseServerFirst(message: Buffer, options: ScramOptions): ServerFirst {
  if (message.length > MAX_MESSAGE_BYTES) throw failure("the server's first message is too long");
  const match = SERVER_FIRST.exec(message.toString("latin1"));
  if (match === null) throw failure("the server's first message is malformed");
  const [, nonce = "", salt = "", count = ""] = match;
  if (!nonce.startsWith(options.nonce) || nonce.length === options.nonce.length) {
    throw failure("the server's nonce does not continue ours");
  }
  const iterations = Number(count);
  const least = options.minIterations ?? MIN_ITERATIONS;
  const most = options.maxIterations ?? MAX_ITERATIONS;
  if (iterations < least || iterations > most) {
    throw failure(`${iterations} iterations are not between ${least} and ${most}`);
  }
  return { nonce, salt: Buffer.from(salt, "base64"), iterations };
}

function parseServerFinal(message: Buffer): Buffer {
  if (message.length > MAX_MESSAGE_BYTES) throw failure("the server's final message is too long");
  const text = message.toString("latin1");
  if (text.startsWith("e=")) throw failure("the server refuses the password");
  const signature = Buffer.from(SERVER_FINAL.exec(text)?.[1] ?? "", "base64");
  if (signature.length !== KEY_BYTES) throw failure("the server's final message is malformed");
  return signature;
}

function derivedKeys(salted: Buffer): { clientKey: Buffer; storedKey: Buffer; serverKey: Buffer } {
  const clientKey = hmac(salted, Buffer.from("Client Key", "latin1"));
  const storedKey = createHash("sha256").update(clientKey).digest();
  return { clientKey, storedKey, serverKey: hmac(salted, Buffer.from("Server Key", "latin1")) };
}

function saltedPassword(password: string, salt: Buffer, iterations: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    pbkdf2(password, salt, iterations, KEY_BYTES, "sha256", (error, key) => {
      if (error === null) resolve(key);
      else reject(error);
    });
  });
}

function preparedPassword(password: string): string {
  const prepared = saslPrepared(password);
  if (prepared === undefined || prepared === "") {
    throw new WireError("syntax", "the password is empty or holds characters SASLprep prohibits");
  }
  return prepared;
}

function escapedName(name: string): string {
  return name.replaceAll("=", "=3D").replaceAll(",", "=2C");
}

function hmac(key: Buffer, message: Buffer): Buffer {
  return createHmac("sha256", key).update(message).digest();
}

function xor(left: Buffer, right: Buffer): Buffer {
  return Buffer.from(left.map((byte, index) => byte ^ (right[index] ?? 0)));
}

function failure(message: string): WireError {
  return new WireError("authentication", message);
}

const KEY_BYTES = 32;
/** RFC 7677 section 4. */
const MIN_ITERATIONS = 4096;
/** About half a second of one core. */
const MAX_ITERATIONS = 1_000_000;
const MAX_MESSAGE_BYTES = 4096;
// Printable ASCII without the comma (RFC 5802 section 7).
const NONCE = /^[!-+\--~]{16,256}$/;
const BASE64 = "(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=|[A-Za-z0-9+/]{4})";
// A mandatory extension (m=) would come first and is thereby refused; others come last and are ignored.
const SERVER_FIRST = new RegExp(`^r=([!-+\\--~]+),s=(${BASE64}),i=([1-9][0-9]{0,9})(?:,[ -~]*)?$`);
const SERVER_FINAL = new RegExp(`^v=(${BASE64})(?:,[ -~]*)?$`);
