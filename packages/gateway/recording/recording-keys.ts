// Keys of recordings. Each session's content has a random key of its own, kept only wrapped: by the
// gateway's recording key and by a key of its subject, the root of the chain, together. Whoever deletes the
// wrapped key (`recordings/<session>.key`) erases one session for good, whoever deletes the subject's
// key (`keys/subjects/<hash>/<id>.key`) all of theirs, copies of `recordings` included; the log, which holds
// digests, stays whole. A subject who comes again gets another key. The session id is bound in.
//
// A wrapped key is: version, SHA-256 of the subject, id of the subject's key, nonce, key, tag.

import { createCipheriv, createDecipheriv, createHash, createHmac } from "node:crypto";
import {
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { link, open, readFile, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { syncDirectory } from "../audit/journal-files.ts";
import { GatewayError } from "../base/errors.ts";
import type { RandomBytes } from "../base/ids.ts";

export interface RecordingKeys {
  /** `subject`: the stable subject of the chain's root. Throws GatewayError "evidence_unavailable". */
  wrap(sessionId: string, subject: string, key: Buffer): Buffer;
  /**
   * Throws GatewayError: "not_found" when the subject's recordings were erased, "invalid" when it is not
   * this session's or was altered.
   */
  unwrap(sessionId: string, wrapped: Buffer): Buffer;
  /** Nothing recorded for them so far can be read again, here or from a copy of `recordings`. */
  eraseSubject(subject: string): void;
}

const VERSION = 2;
const HASH_BYTES = 32;
const KEY_ID_BYTES = 16;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
const KEY_BYTES = 32;
const HEAD_BYTES = 1 + HASH_BYTES + KEY_ID_BYTES;
const WRAPPED_BYTES = HEAD_BYTES + NONCE_BYTES + KEY_BYTES + TAG_BYTES;

/** Reads `<data>/keys/recording.key`, or makes it, mode 0600; the folder must exist. */
export async function loadRecordingKeys(
  dataDirectory: string,
  random: RandomBytes,
): Promise<RecordingKeys> {
  const path = join(dataDirectory, "keys", "recording.key");
  const text = (await readText(path)) ?? (await makeKey(path, random));
  const key = Buffer.from(text.trim(), "base64url");
  if (key.length !== KEY_BYTES) {
    throw new GatewayError("configuration", `${path} does not hold a recording key`);
  }
  return recordingKeys(key, join(dataDirectory, "keys", "subjects"), random);
}

function recordingKeys(gatewayKey: Buffer, directory: string, random: RandomBytes): RecordingKeys {
  return {
    wrap(sessionId, subject, key) {
      const hash = subjectHash(subject);
      const { keyId, secret } = subjectKey(join(directory, hash.toString("hex")), random);
      const nonce = random(NONCE_BYTES);
      const head = Buffer.concat([Buffer.of(VERSION), hash, keyId]);
      const cipher = createCipheriv("aes-256-gcm", joined(gatewayKey, secret), nonce);
      cipher.setAAD(context(sessionId, head));
      const sealed = Buffer.concat([cipher.update(key), cipher.final()]);
      return Buffer.concat([head, nonce, sealed, cipher.getAuthTag()]);
    },
    unwrap(sessionId, wrapped) {
      const wrong = `the recording key of ${sessionId} cannot be opened`;
      if (wrapped.length !== WRAPPED_BYTES || wrapped[0] !== VERSION)
        throw new GatewayError("invalid", wrong);
      const head = wrapped.subarray(0, HEAD_BYTES);
      const owner = head.toString("hex", 1, 1 + HASH_BYTES);
      const secret = readSubjectKey(join(directory, owner), head.toString("hex", 1 + HASH_BYTES));
      if (secret === undefined)
        throw new GatewayError("not_found", `the recording of ${sessionId} was erased`);
      const nonce = wrapped.subarray(HEAD_BYTES, HEAD_BYTES + NONCE_BYTES);
      const decipher = createDecipheriv("aes-256-gcm", joined(gatewayKey, secret), nonce);
      decipher.setAAD(context(sessionId, head));
      decipher.setAuthTag(wrapped.subarray(-TAG_BYTES));
      try {
        const sealed = wrapped.subarray(HEAD_BYTES + NONCE_BYTES, -TAG_BYTES);
        return Buffer.concat([decipher.update(sealed), decipher.final()]);
      } catch (cause) {
        throw new GatewayError("invalid", wrong, { cause });
      }
    },
    eraseSubject(subject) {
      const folder = join(directory, subjectHash(subject).toString("hex"));
      for (const name of namesIn(folder)) rmSync(join(folder, name), { force: true });
      // The empty folder stays: it says that there was somebody, and that nothing is left.
      if (orNone(() => readdirSync(folder)) !== undefined) syncDirectory(folder);
    },
  };
}

function subjectHash(subject: string): Buffer {
  return createHash("sha256").update(`custody recording subject v1 ${subject}`).digest();
}

/** Neither key alone opens anything. */
function joined(gatewayKey: Buffer, secret: Buffer): Buffer {
  return createHmac("sha256", gatewayKey)
    .update("custody recording key v2 ")
    .update(secret)
    .digest();
}

function context(sessionId: string, head: Buffer): Buffer {
  return Buffer.concat([Buffer.from(`custody recording key v2 ${sessionId} `, "utf8"), head]);
}

/** Read anew for each session: another process may have erased it. */
function subjectKey(folder: string, random: RandomBytes): { keyId: Buffer; secret: Buffer } {
  for (const name of namesIn(folder)) {
    if (!name.endsWith(".key")) continue;
    const secret = readSubjectKey(folder, name.slice(0, -".key".length));
    if (secret !== undefined)
      return { keyId: Buffer.from(name.slice(0, -".key".length), "hex"), secret };
  }
  const made = { keyId: random(KEY_ID_BYTES), secret: random(KEY_BYTES) };
  try {
    const first = mkdirSync(folder, { recursive: true, mode: 0o700 });
    writeDurably(join(folder, `${made.keyId.toString("hex")}.key`), made.secret);
    syncDirectory(folder);
    if (first !== undefined) syncDirectory(join(folder, ".."));
  } catch (cause) {
    throw new GatewayError("evidence_unavailable", "a key for recordings cannot be kept", {
      cause,
    });
  }
  return made;
}

/** Has its name only once it is on the disk: what could not be put there is not found and used later. */
function writeDurably(path: string, bytes: Buffer): void {
  const file = openSync(`${path}.new`, "wx", 0o600);
  try {
    writeFileSync(file, bytes);
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
  renameSync(`${path}.new`, path);
}

function readSubjectKey(folder: string, keyId: string): Buffer | undefined {
  const secret = orNone(() => readFileSync(join(folder, `${keyId}.key`)));
  return secret?.length === KEY_BYTES ? secret : undefined;
}

function namesIn(folder: string): string[] {
  return (orNone(() => readdirSync(folder)) ?? []).sort();
}

function orNone<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

async function readText(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

/** Appears whole: whoever is killed while making it leaves none, and the first of two makes the one that counts. */
async function makeKey(path: string, random: RandomBytes): Promise<string> {
  const text = `${random(KEY_BYTES).toString("base64url")}\n`;
  const staged = `${path}.${random(8).toString("hex")}.new`;
  try {
    const file = await open(staged, "wx", 0o600);
    try {
      await file.writeFile(text);
      await file.sync();
    } finally {
      await file.close();
    }
    try {
      // A link, not a rename: it fails where something is.
      await link(staged, path);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
      return await readFile(path, "utf8");
    }
    return text;
  } finally {
    await rm(staged, { force: true });
    syncDirectory(dirname(path));
  }
}
