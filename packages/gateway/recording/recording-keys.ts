// Keys of recordings. Each session's content has a random key of its own, kept only wrapped by the
// gateway's recording key; whoever deletes the wrapped key (`recordings/<session>.key`) erases the
// content for good, while the log, which holds digests, stays whole. The session id is bound in.

import { createCipheriv, createDecipheriv } from "node:crypto";
import { open, readFile } from "node:fs/promises";
import { join } from "node:path";
import { GatewayError } from "../base/errors.ts";
import type { RandomBytes } from "../base/ids.ts";

export interface RecordingKeys {
  wrap(sessionId: string, key: Buffer): Buffer;
  /** Throws GatewayError "invalid" when it is not this session's or was altered. */
  unwrap(sessionId: string, wrapped: Buffer): Buffer;
}

const VERSION = 1;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
const KEY_BYTES = 32;

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
  return recordingKeys(key, random);
}

function recordingKeys(gatewayKey: Buffer, random: RandomBytes): RecordingKeys {
  return {
    wrap(sessionId, key) {
      const nonce = random(NONCE_BYTES);
      const cipher = createCipheriv("aes-256-gcm", gatewayKey, nonce);
      cipher.setAAD(context(sessionId));
      const sealed = Buffer.concat([cipher.update(key), cipher.final()]);
      return Buffer.concat([Buffer.of(VERSION), nonce, sealed, cipher.getAuthTag()]);
    },
    unwrap(sessionId, wrapped) {
      const wrong = `the recording key of ${sessionId} cannot be opened`;
      if (wrapped.length !== 1 + NONCE_BYTES + KEY_BYTES + TAG_BYTES || wrapped[0] !== VERSION) {
        throw new GatewayError("invalid", wrong);
      }
      const nonce = wrapped.subarray(1, 1 + NONCE_BYTES);
      const decipher = createDecipheriv("aes-256-gcm", gatewayKey, nonce);
      decipher.setAAD(context(sessionId));
      decipher.setAuthTag(wrapped.subarray(-TAG_BYTES));
      try {
        const sealed = wrapped.subarray(1 + NONCE_BYTES, -TAG_BYTES);
        return Buffer.concat([decipher.update(sealed), decipher.final()]);
      } catch (cause) {
        throw new GatewayError("invalid", wrong, { cause });
      }
    },
  };
}

function context(sessionId: string): Buffer {
  return Buffer.from(`custody recording key v1 ${sessionId}`, "utf8");
}

async function readText(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

async function makeKey(path: string, random: RandomBytes): Promise<string> {
  const text = `${random(KEY_BYTES).toString("base64url")}\n`;
  const file = await open(path, "wx", 0o600);
  try {
    await file.writeFile(text);
    await file.sync();
  } finally {
    await file.close();
  }
  return text;
}
