// Where a reference (reference.ts) leads to: the secret itself. Nothing is cached, so that a rotated
// secret is used from the next session on, and no message ever repeats a value.
//
// A sealed secret is an age file (age-encryption.org/v1) for the gateway's own X25519 key, which
// `custody init` makes in <data>/keys/seal.key: the configuration can then be kept in a repository.

import { spawn } from "node:child_process";
import { closeSync, fstatSync, mkdirSync, openSync, readSync } from "node:fs";
import { dirname, join } from "node:path";

import { GatewayError } from "../base/errors.ts";
import { writeNewFile } from "../base/new-file.ts";
import { Secret } from "../base/secret.ts";
import type { SecretReference } from "./reference.ts";

/** Longer than any password or key file. */
const MAX_SECRET_BYTES = 64 * 1024;

export interface SecretDeps {
  readonly dataDirectory: string;
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** For `exec:`, in milliseconds. */
  readonly timeoutMs: number;
}

/** Throws GatewayError "dependency_unavailable"; its message names the reference, never a value. */
export type ResolveSecret = (reference: SecretReference) => Promise<Secret>;

export function createSecretResolver(deps: SecretDeps): ResolveSecret {
  return async (reference) => {
    switch (reference.from) {
      case "env":
        return accept(reference, deps.environment[reference.name] ?? "");
      case "file":
        return accept(reference, withoutNewline(readSecretFile(reference, reference.path)));
      case "exec":
        return accept(reference, withoutNewline(await run(reference, reference.command, deps)));
      case "sealed":
        return accept(reference, await open(reference, reference.box, deps.dataDirectory));
    }
  };
}

/** `sealed:…` for the configuration; the key is made when there is none yet. */
export async function sealSecret(dataDirectory: string, value: string): Promise<string> {
  if (value === "" || Buffer.byteLength(value) > MAX_SECRET_BYTES)
    throw new GatewayError("invalid", "a secret has between 1 byte and 64 KiB");
  const identity = await openSealKey(dataDirectory);
  const { Encrypter, identityToRecipient } = await ageLibrary();
  const encrypter = new Encrypter();
  encrypter.addRecipient(await identityToRecipient(identity));
  return `sealed:${Buffer.from(await encrypter.encrypt(value)).toString("base64url")}`;
}

/** Makes the key that opens sealed secrets; refuses when there is one. */
export async function createSealKey(dataDirectory: string): Promise<void> {
  const file = sealKeyFile(dataDirectory);
  mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
  const { generateX25519Identity } = await ageLibrary();
  writeNewFile(file, `${await generateX25519Identity()}\n`, 0o600);
}

/** `env:NAME` and so on; of a sealed one only that it is sealed. */
function describeReference(reference: SecretReference): string {
  switch (reference.from) {
    case "env":
      return `env:${reference.name}`;
    case "file":
      return `file:${reference.path}`;
    case "exec":
      return `exec:${reference.command[0] ?? ""}`;
    case "sealed":
      return "sealed:…";
  }
}

function sealKeyFile(dataDirectory: string): string {
  return join(dataDirectory, "keys", "seal.key");
}

async function openSealKey(dataDirectory: string): Promise<string> {
  const reference = { from: "file", path: sealKeyFile(dataDirectory) } as const;
  try {
    return withoutNewline(readSecretFile(reference, reference.path));
  } catch (error) {
    const { cause } = error as GatewayError;
    if ((cause as NodeJS.ErrnoException | undefined)?.code !== "ENOENT") throw error;
    await createSealKey(dataDirectory);
    return withoutNewline(readSecretFile(reference, reference.path));
  }
}

async function open(
  reference: SecretReference,
  box: string,
  dataDirectory: string,
): Promise<string> {
  const file = sealKeyFile(dataDirectory);
  const identity = withoutNewline(readSecretFile({ from: "file", path: file }, file));
  try {
    const { Decrypter } = await ageLibrary();
    const decrypter = new Decrypter();
    decrypter.addIdentity(identity);
    return await decrypter.decrypt(Buffer.from(box, "base64url"), "text");
  } catch (error) {
    throw unavailable(reference, `does not open with the key in ${file}`, error);
  }
}

function accept(reference: SecretReference, value: string): Secret {
  if (value === "") throw unavailable(reference, "is empty or not set");
  if (value.includes("\0")) throw unavailable(reference, "has a NUL byte in it");
  return new Secret(value);
}

/** The descriptor that was checked is the one that is read, whatever the path names by then. */
function readSecretFile(reference: SecretReference, path: string): string {
  let descriptor: number;
  try {
    descriptor = openSync(path, "r");
  } catch (error) {
    throw unavailable(reference, "cannot be opened", error);
  }
  try {
    const stat = fstatSync(descriptor);
    if (!stat.isFile()) throw unavailable(reference, "is not a file");
    if ((stat.mode & 0o007) !== 0)
      throw unavailable(reference, "can be read by every user of this machine; chmod 600 it");
    const buffer = Buffer.alloc(MAX_SECRET_BYTES + 1);
    const length = readSync(descriptor, buffer, 0, buffer.length, 0);
    if (length > MAX_SECRET_BYTES) throw unavailable(reference, "is longer than 64 KiB");
    return buffer.toString("utf8", 0, length);
  } finally {
    closeSync(descriptor);
  }
}

/**
 * Runs the program without a shell, with PATH and HOME only: the gateway's other secrets may be in its
 * environment. It and what it started are killed when the time is up.
 */
function run(
  reference: SecretReference,
  command: readonly string[],
  deps: SecretDeps,
): Promise<string> {
  const [program = "", ...rest] = command;
  const { PATH, HOME } = deps.environment;
  const env = { ...(PATH !== undefined && { PATH }), ...(HOME !== undefined && { HOME }) };
  return new Promise((resolve, reject) => {
    const child = spawn(program, rest, {
      env,
      detached: true,
      stdio: ["ignore", "pipe", "ignore"],
    });
    const chunks: Buffer[] = [];
    let length = 0;
    const give = (problem: string, cause?: unknown) => {
      clearTimeout(timer);
      killGroup(child.pid);
      child.stdout.destroy();
      reject(unavailable(reference, problem, cause));
    };
    const timer = setTimeout(() => give(`gave no secret in ${deps.timeoutMs} ms`), deps.timeoutMs);
    child.on("error", (error) => give("cannot be started", error));
    child.stdout.on("data", (chunk: Buffer) => {
      length += chunk.length;
      if (length > MAX_SECRET_BYTES) give("printed more than 64 KiB");
      else chunks.push(chunk);
    });
    child.on("close", (code, signal) => {
      clearTimeout(timer);
      if (code === 0) resolve(Buffer.concat(chunks).toString("utf8"));
      else reject(unavailable(reference, `ended with ${signal ?? `exit code ${code}`}`));
    });
  });
}

function killGroup(pid: number | undefined): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, "SIGKILL");
  } catch {
    // It ended by itself in the meantime.
  }
}

/** Editors and `echo` end a file with a line break that is not part of the secret. */
function withoutNewline(text: string): string {
  return text.replace(/\r?\n$/, "");
}

function unavailable(reference: SecretReference, problem: string, cause?: unknown): GatewayError {
  const message = `the secret ${describeReference(reference)} ${problem}`;
  return new GatewayError("dependency_unavailable", message, cause === undefined ? {} : { cause });
}

/** Loaded where a secret is sealed: most gateways have none, and it is megabytes. */
function ageLibrary() {
  return import("age-encryption");
}
