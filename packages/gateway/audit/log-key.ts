// The keys that sign the log's checkpoints, in the text forms of signed notes that Go's sumdb tools read
// and write. Ed25519: `<data>/keys/log.key` (mode 0600) with its verifier key beside it in `log.vkey`, made at
// first start, or a command of the operator's that signs (a KMS, a token, a socket behind `nc -U`). The
// name in the key is the log's origin.
//
// Keys of before, after a rotation, are in `log.retired.vkeys`: heads they signed are ours still. With
// `postQuantum` an ML-DSA-44 cosignature (`log.mldsa.key`) stands under the Ed25519 one.

import { spawnSync } from "node:child_process";
import { createPublicKey, verify } from "node:crypto";
import {
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  writeSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { keyNamed, keysOf, shardOrigin } from "@custody/evidence/core/log-shard.ts";
import {
  COSIGNATURE_ML_DSA_44,
  ED25519,
  formatKey,
  type KeyType,
  type NoteKey,
  parseKey,
  parseNote,
  signatureLine,
} from "@custody/evidence/core/note.ts";
import {
  makeSigningKey,
  parseSigningKey,
  type SigningKey,
} from "@custody/evidence/node/signing-key.ts";
import { GatewayError } from "../base/errors.ts";
import { base32, type RandomBytes } from "../base/ids.ts";
import { syncDirectory } from "./journal-files.ts";

export interface LogKey {
  readonly origin: string;
  /** For auditors: `<origin>+<id>+<base64>`. */
  readonly vkey: string;
  /** Of the ML-DSA-44 cosignature, where there is one. */
  readonly mlDsaVkey: string | undefined;
  /** The note: the text and our signature lines. */
  sign(text: string): string;
  /** Was this note signed by this log's Ed25519 key, or one of those before it? */
  isOwn(note: string): boolean;
  /** The same keys for a shard of this log: "" is the log itself. */
  shard(name: string): LogKey;
}

export interface LogKeySettings {
  /** Counts at the making only; the default is random. */
  readonly origin?: string | undefined;
  /** Signs what it reads on standard input: 64 bytes, or their base64, on standard output. */
  readonly signer?: { readonly command: readonly string[]; readonly vkey: string } | undefined;
  readonly postQuantum?: boolean | undefined;
}

/** SubjectPublicKeyInfo of an Ed25519 key up to its 32 bytes (RFC 8410, section 4). */
const SPKI_PREFIX = Buffer.from("302a300506032b6570032100", "hex");
const SIGNER_TIMEOUT_MS = 5_000;
/** The thread that publishes waits, commands do not: the journal has their records. */
const SIGNER_PAUSES_MS = [200, 500, 1_000, 2_000, 5_000, 10_000, 20_000];
const RETIRED = "log.retired.vkeys";

/** Reads the keys, or makes them. */
export function loadLogKey(
  dataDirectory: string,
  random: RandomBytes,
  settings: LogKeySettings = {},
): LogKey {
  const directory = join(dataDirectory, "keys");
  const first = settings.signer ? commandKey(settings.signer) : ownKey(directory, random, settings);
  const base = first.name;
  const second = settings.postQuantum ? mlDsaKey(directory, random, base) : undefined;
  const trusted = [first.vkey, ...(readLines(join(directory, RETIRED)) ?? [])].map(parseKey);
  const shard = (name: string): LogKey => {
    const origin = shardOrigin(base, name);
    return logKey(first.named(origin), second?.named(origin), keysOf(trusted, origin), shard);
  };
  return shard("");
}

function logKey(
  first: SigningKey,
  second: SigningKey | undefined,
  trusted: readonly NoteKey[],
  shard: LogKey["shard"],
): LogKey {
  return {
    origin: first.name,
    vkey: first.vkey,
    mlDsaVkey: second?.vkey,
    sign: (text) => `${text}\n${first.line(text)}${second?.line(text, Date.now() / 1000) ?? ""}`,
    isOwn: (note) => trusted.some((key) => isSignedBy(key, note)),
    shard,
  };
}

/**
 * Puts a new Ed25519 key of the same origin in the place of the log's own; the old one is deleted and its
 * verifier key kept. For a gateway that does not run.
 */
export function rotateLogKey(
  dataDirectory: string,
  random: RandomBytes,
): { readonly vkey: string; readonly retired: string } {
  const directory = join(dataDirectory, "keys");
  const path = join(directory, "log.key");
  const old = readKey(path, ED25519);
  if (old === undefined) {
    throw new GatewayError("not_found", `${path} is not there: the log has no key of its own`);
  }
  const text = makeSigningKey(old.name, ED25519, random);
  const fresh = parseSigningKey(text);
  const retired = [...(readLines(join(directory, RETIRED)) ?? []), old.vkey];
  // The verifier key of before first: whatever is cut off after it, its heads are known.
  replaceFile(join(directory, RETIRED), retired.join("\n"));
  replaceFile(path, text);
  replaceFile(join(directory, "log.vkey"), fresh.vkey);
  return { vkey: fresh.vkey, retired: old.vkey };
}

function ownKey(directory: string, random: RandomBytes, settings: LogKeySettings): SigningKey {
  const origin = () => settings.origin ?? `custody.invalid/log-${base32(random(10), 10)}`;
  return keyIn(directory, "log", ED25519, origin, random);
}

function mlDsaKey(directory: string, random: RandomBytes, origin: string): SigningKey {
  return keyIn(directory, "log.mldsa", COSIGNATURE_ML_DSA_44, () => origin, random);
}

function keyIn(
  directory: string,
  file: string,
  type: KeyType,
  name: () => string,
  random: RandomBytes,
): SigningKey {
  const path = join(directory, `${file}.key`);
  const known = readKey(path, type);
  const verifier = join(directory, `${file}.vkey`);
  if (known !== undefined) {
    // A crash may have come between the two files, at the making or in a rotation.
    if (readLines(verifier)?.[0] !== known.vkey) replaceFile(verifier, known.vkey);
    return known;
  }
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const text = makeSigningKey(name(), type, random);
  const key = parseSigningKey(text);
  replaceFile(path, text);
  replaceFile(verifier, key.vkey);
  return key;
}

function readKey(path: string, type: KeyType): SigningKey | undefined {
  const text = readLines(path)?.[0];
  if (text === undefined) return undefined;
  try {
    const key = parseSigningKey(text);
    if (key.type === type) return key;
  } catch (cause) {
    throw new GatewayError("configuration", `${path} does not hold a log key`, { cause });
  }
  throw new GatewayError("configuration", `${path} holds a key of another kind`);
}

/** What a command signs is verified before it is used. */
function commandKey({ command, vkey }: NonNullable<LogKeySettings["signer"]>): SigningKey {
  const key = parseKey(vkey);
  if (key.type !== ED25519) {
    throw new GatewayError("configuration", "log.signer: its key is not an Ed25519 key of a log");
  }
  return signedByCommand(command, key);
}

function signedByCommand(command: readonly string[], key: NoteKey): SigningKey {
  return {
    name: key.name,
    type: key.type,
    vkey: formatKey(key.name, key.type, key.publicKey),
    named: (name) => signedByCommand(command, keyNamed(key, name)),
    line(text) {
      for (let attempt = 0; ; attempt++) {
        const line = runSigner(command, key, text);
        if (line !== undefined && isSignedBy(key, `${text}\n${line}`)) return line;
        const pauseMs = SIGNER_PAUSES_MS[attempt];
        if (pauseMs === undefined) {
          const said = `the log's signer (${command[0]}) gives no signature of its key`;
          throw new GatewayError("evidence_unavailable", said);
        }
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, pauseMs);
      }
    },
  };
}

function runSigner(command: readonly string[], key: NoteKey, text: string): string | undefined {
  const [program = "", ...args] = command;
  const { status, stdout } = spawnSync(program, args, {
    input: text,
    timeout: SIGNER_TIMEOUT_MS,
    maxBuffer: 4096,
    stdio: ["pipe", "pipe", "inherit"],
  });
  if (status !== 0) return undefined;
  const signature =
    stdout.length === 64 ? stdout : Buffer.from(stdout.toString("latin1"), "base64");
  return signature.length === 64 ? signatureLine(key.name, key.id, signature) : undefined;
}

function isSignedBy(key: NoteKey, note: string): boolean {
  const { text, signatures } = parseNote(Buffer.from(note, "utf8"));
  const own = signatures.filter(
    ({ name, id }) => name === key.name && Buffer.from(id).equals(key.id),
  );
  const [line] = own;
  if (line === undefined || own.length > 1) return false;
  const der = Buffer.concat([SPKI_PREFIX, key.publicKey]);
  const publicKey = createPublicKey({ key: der, format: "der", type: "spki" });
  return verify(null, Buffer.from(text, "utf8"), publicKey, line.signature);
}

function readLines(path: string): string[] | undefined {
  try {
    return readFileSync(path, "utf8")
      .split("\n")
      .filter((line) => line !== "");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

function replaceFile(path: string, text: string): void {
  writeStaged(`${path}.new`, text);
  renameSync(`${path}.new`, path);
  syncDirectory(dirname(path));
}

function writeStaged(path: string, text: string): void {
  const fd = openSync(path, "w", 0o600);
  try {
    writeSync(fd, `${text}\n`);
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}
