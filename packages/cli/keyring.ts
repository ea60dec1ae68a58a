// The system's keyring, where there is one: on Linux the Secret Service by libsecret's `secret-tool`, on
// macOS the keychain by `security`. Secrets go to both on standard input, never as an argument, which
// every process of the machine could read.

import { spawnSync } from "node:child_process";
import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";

type Environment = Readonly<Record<string, string | undefined>>;

export interface Keyring {
  /** What people know it by. */
  readonly name: string;
  /** false: it could not be kept there. */
  store(account: string, secret: string): boolean;
  /** undefined: it is not there, or the keyring stays locked. */
  read(account: string): string | undefined;
  remove(account: string): void;
}

/** An unlock dialog waits for the person. */
const TIMEOUT_MS = 60_000;
const SERVICE = "custody";

/** undefined: none, or CUSTODY_KEYRING=off. */
export function findKeyring(environment: Environment): Keyring | undefined {
  if (environment.CUSTODY_KEYRING === "off") return undefined;
  if (process.platform === "darwin") return keychain(environment);
  const isReachable = (environment.DBUS_SESSION_BUS_ADDRESS ?? "") !== "";
  return isReachable && isOnPath("secret-tool", environment)
    ? secretService(environment)
    : undefined;
}

function secretService(environment: Environment): Keyring {
  const tool = (args: readonly string[], input?: string) =>
    run(environment, "secret-tool", args, input);
  const attributes = (account: string) => ["service", SERVICE, "account", account];
  return {
    name: "the system's keyring (Secret Service)",
    store: (account, secret) =>
      tool(["store", "--label", `Custody: ${account}`, ...attributes(account)], secret) !==
      undefined,
    read: (account) => tool(["lookup", ...attributes(account)]) || undefined,
    remove: (account) => void tool(["clear", ...attributes(account)]),
  };
}

function keychain(environment: Environment): Keyring {
  const tool = (args: readonly string[], input?: string) =>
    run(environment, "/usr/bin/security", args, input);
  return {
    name: "the keychain",
    // -i reads commands from standard input. Accounts are paths and names, secrets base64url: neither
    // holds a quotation mark.
    store: (account, secret) =>
      !account.includes('"') &&
      tool(
        ["-i"],
        `add-generic-password -U -s ${SERVICE} -a "${account}" -w "${Buffer.from(secret).toString("base64url")}"\n`,
      ) !== undefined,
    read(account) {
      const found = tool(["find-generic-password", "-s", SERVICE, "-a", account, "-w"])?.trim();
      return found ? Buffer.from(found, "base64url").toString("utf8") : undefined;
    },
    remove: (account) => void tool(["delete-generic-password", "-s", SERVICE, "-a", account]),
  };
}

/** What it printed; undefined when it did not work. */
function run(
  environment: Environment,
  program: string,
  args: readonly string[],
  input = "",
): string | undefined {
  const done = spawnSync(program, [...args], {
    input,
    env: { ...environment },
    encoding: "utf8",
    timeout: TIMEOUT_MS,
    stdio: ["pipe", "pipe", "ignore"],
  });
  return done.status === 0 ? done.stdout : undefined;
}

function isOnPath(program: string, environment: Environment): boolean {
  return (environment.PATH ?? "").split(delimiter).some((directory) => {
    try {
      accessSync(join(directory, program), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}
