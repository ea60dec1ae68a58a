// Contexts: which gateway, which CA, which credential. One JSON file each under $CUSTODY_HOME, else
// $XDG_CONFIG_HOME/custody, else ~/.config/custody; folder 0700, files 0600, replaced atomically. The
// CA is a file of its own beside, for clients that want a path (sslrootcert).
//
// Secrets (the delegation, the provider's refresh token) are in the system's keyring where there is one
// (keyring.ts), else in the same file.

import { randomBytes } from "node:crypto";
import {
  closeSync,
  fstatSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeSync,
} from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";

import { providerSchema } from "@custody/contract/providers.ts";
import { z } from "zod";

import { CliError } from "./faults.ts";
import { findKeyring, type Keyring } from "./keyring.ts";

const CONTEXT_NAME = /^[a-z0-9][a-z0-9.-]{0,62}$/;

const contextSchema = z.strictObject({
  /** The control API's origin: `https://custody.example.com:7443`. */
  url: z.url(),
  /** PEM of the CA that is trusted for it; null: the system's. */
  ca: z.string().nullable(),
  /** The delegation: a handle or JWT. null after `custody logout`. */
  token: z.string().nullable(),
  delegationId: z.string().nullable(),
  /** With which provider, so that it can be refreshed; null: with a token somebody brought. */
  signIn: z
    .strictObject({
      provider: providerSchema,
      /** When it is refreshed next, and when it ends without; ISO 8601. */
      refreshAt: z.string(),
      expiresAt: z.string(),
      refreshToken: z.string().nullable(),
      /** To sign out at the provider. */
      idToken: z.string().nullable(),
    })
    .nullable()
    .default(null),
  /** Where token, refreshToken and idToken are: they are null in a file whose secrets are elsewhere. */
  kept: z.enum(["file", "keyring"]).default("file"),
});

const secretsSchema = z.strictObject({
  token: z.string().nullable(),
  refreshToken: z.string().nullable(),
  idToken: z.string().nullable(),
});

type ContextFile = z.infer<typeof contextSchema>;
export type StoredContext = Omit<ContextFile, "kept">;
export type NewContext = Omit<StoredContext, "signIn"> & Partial<Pick<StoredContext, "signIn">>;

export interface ContextStore {
  readonly directory: string;
  /** undefined: no context was ever made, or none chosen. */
  currentName(): string | undefined;
  names(): readonly string[];
  /** undefined: there is none of this name. Throws CliError when its file cannot be trusted. */
  read(name: string): StoredContext | undefined;
  /** The same without its secrets, which are null: asks no keyring. */
  peek(name: string): StoredContext | undefined;
  /** Where its secrets were put, for people. */
  write(name: string, context: NewContext): string;
  choose(name: string): void;
  /** Path of the context's CA in a file; undefined: the system's CAs. */
  caFile(name: string): string | undefined;
  /** A new file, readable by this user only, in the store's folder. */
  writePrivate(name: string, text: string): string;
}

export function openContexts(
  environment: Readonly<Record<string, string | undefined>>,
  keyring: Keyring | undefined = findKeyring(environment),
): ContextStore {
  const directory =
    environment.CUSTODY_HOME ??
    join(environment.XDG_CONFIG_HOME ?? join(homedir(), ".config"), "custody");
  const contexts = join(directory, "contexts");
  const fileOf = (name: string) => join(contexts, `${checked(name)}.json`);
  const caOf = (name: string) => join(contexts, `${checked(name)}.ca.pem`);
  const accountOf = (name: string) => `${contexts}/${name}`;
  const read = (name: string) => {
    const file = readContext(fileOf(name));
    if (file === undefined) return undefined;
    const { kept, ...context } = file;
    if (kept === "file") return context;
    return withSecrets(context, keyring?.read(accountOf(name)), name);
  };
  return {
    directory,
    currentName: () => readOptional(join(directory, "current"))?.trim() || undefined,
    names: () => listNames(contexts),
    read,
    write: (name, given) => {
      const context: StoredContext = { ...given, signIn: given.signIn ?? null };
      mkdirSync(contexts, { recursive: true, mode: 0o700 });
      if (context.ca !== null) replace(caOf(name), context.ca);
      else rmSync(caOf(name), { force: true });
      const secrets = JSON.stringify(secretsOf(context));
      const inKeyring = context.token !== null && keyring?.store(accountOf(name), secrets) === true;
      if (context.token === null) keyring?.remove(accountOf(name));
      const file: ContextFile = inKeyring
        ? { ...withoutSecrets(context), kept: "keyring" }
        : { ...context, kept: "file" };
      replace(fileOf(name), `${JSON.stringify(file, undefined, 2)}\n`);
      return inKeyring && keyring !== undefined ? keyring.name : `${fileOf(name)} (mode 0600)`;
    },
    peek: (name) => {
      const file = readContext(fileOf(name));
      return file === undefined ? undefined : withoutSecrets(file);
    },
    choose: (name) => replace(join(directory, "current"), `${checked(name)}\n`),
    caFile: (name) => (readContext(fileOf(name))?.ca == null ? undefined : caOf(name)),
    writePrivate: (name, text) => {
      mkdirSync(directory, { recursive: true, mode: 0o700 });
      const path = join(directory, name);
      replace(path, text);
      return path;
    },
  };
}

function secretsOf(context: StoredContext): z.infer<typeof secretsSchema> {
  const { token, signIn } = context;
  return {
    token,
    refreshToken: signIn?.refreshToken ?? null,
    idToken: signIn?.idToken ?? null,
  };
}

function withoutSecrets({ url, ca, delegationId, signIn }: StoredContext): StoredContext {
  const bare = signIn === null ? null : { ...signIn, refreshToken: null, idToken: null };
  return { url, ca, token: null, delegationId, signIn: bare };
}

function withSecrets(file: StoredContext, text: string | undefined, name: string): StoredContext {
  const parsed = secretsSchema.safeParse(text === undefined ? undefined : JSON.parse(text));
  if (!parsed.success)
    throw new CliError("unauthenticated", `the keyring does not give the secrets of ${name} out`, {
      hint: "unlock it, or custody login again",
    });
  const { token, refreshToken, idToken } = parsed.data;
  const { url, ca, delegationId, signIn } = file;
  const whole = signIn === null ? null : { ...signIn, refreshToken, idToken };
  return { url, ca, token, delegationId, signIn: whole };
}

/** Makes or replaces a file readable by its owner only; whoever reads sees the old or the new, whole. */
export function replace(path: string, text: string): void {
  const temporary = `${path}.${randomBytes(6).toString("hex")}`;
  const descriptor = openSync(temporary, "wx", 0o600);
  try {
    writeSync(descriptor, text);
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
  renameSync(temporary, path);
}

function readContext(file: string): ContextFile | undefined {
  let descriptor: number;
  try {
    descriptor = openSync(file, "r");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw new CliError("refused", `${file} cannot be read`, { cause: error });
  }
  try {
    if ((fstatSync(descriptor).mode & 0o077) !== 0)
      throw new CliError("refused", `${file} holds a credential and others may read it`, {
        hint: `chmod 600 ${file}, then custody login again: whoever read it could use it`,
      });
    const parsed = contextSchema.safeParse(JSON.parse(readFileSync(descriptor, "utf8")));
    if (parsed.success) return parsed.data;
    throw new CliError("refused", `${file} is not a context of this version`, {
      hint: "custody login makes it anew",
    });
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    throw new CliError("refused", `${file} is damaged`, { hint: "custody login makes it anew" });
  } finally {
    closeSync(descriptor);
  }
}

function listNames(directory: string): readonly string[] {
  try {
    return readdirSync(directory)
      .filter((name) => name.endsWith(".json"))
      .map((name) => name.slice(0, -".json".length))
      .sort();
  } catch {
    return [];
  }
}

function readOptional(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}

function checked(name: string): string {
  if (CONTEXT_NAME.test(name)) return name;
  throw new CliError("usage", `"${name}" cannot be a context's name`, {
    hint: "lower-case letters, digits, dots and dashes, at most 63",
  });
}
