// PostgreSQL 18's libpq: the cases are in libpq18-cases.py. It comes with psycopg-binary 3.3, which is no package
// of Debian 12's: CUSTODY_PSYCOPG names a folder that it was installed to (`pip install --target`); else pip puts it
// into the cache from PyPI, by its digests. Without pip, PyPI or a wheel for this machine it is skipped.

import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Client } from "./cases.ts";
import { libpqEnvironment, type Peer, type Peers } from "./peers.ts";
import { named } from "./sign-in.ts";

const SCRIPT = fileURLToPath(new URL("libpq18-cases.py", import.meta.url));
/** Debian 12's own: the wheel is for its version. */
const PYTHON = existsSync("/usr/bin/python3") ? "/usr/bin/python3" : "python3";
const REQUIREMENTS = `\
psycopg==3.3.2 --hash=sha256:3e94bc5f4690247d734599af56e51bae8e0db8e4311ea413f801fef82b14a99b
psycopg-binary==3.3.2 --hash=sha256:649c1d33bedda431e0c1df646985fbbeb9274afa964e1aef4be053c0f23a2924
typing_extensions==4.15.0 --hash=sha256:f0fa19c6845758ab08074a0cfa8b7aecb71c999ca73d62883bc25cc018c4e548
`;
const INSTALL_TIMEOUT_MS = 60_000;

const PYTHONPATH = process.env.CUSTODY_PSYCOPG ?? installed();
const listed = spawnSync(PYTHON, [SCRIPT], { encoding: "utf8", env: environment() });

export const libpq18: Client = {
  name: listed.status === 0 ? `libpq ${versionOf(Number(listed.stdout))}` : "libpq 18",
  unavailable: () =>
    listed.status === 0 ? undefined : "psycopg-binary 3.3 is not installed, nor can pip install it",
  cases: [
    {
      name: "a token by OAUTHBEARER, and the way to one when there is none",
      run: (peer, peers) => run("oauth", peer, peers),
    },
    { name: "TLS from the first byte", run: (peer, peers) => run("direct-tls", peer, peers) },
    {
      name: "protocol 3.2, cancelled by a long key",
      run: (peer, peers) => run("protocol-3.2", peer, peers),
    },
    { name: "protocol 3.0", run: (peer, peers) => run("protocol-3.0", peer, peers) },
    {
      name: "SCRAM bound to the channel",
      run: (peer, peers) => run("scram", peer.name === "gateway" ? named(peer) : peer, peers),
    },
  ],
};

async function run(name: string, peer: Peer, peers: Peers): Promise<unknown> {
  const child = spawn(PYTHON, [SCRIPT, name], {
    env: {
      ...libpqEnvironment(peer),
      PYTHONPATH,
      ...(peer.name === "gateway" ? { CUSTODY_ISSUER: peers.process.url } : {}),
    },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const [out, err]: Buffer[][] = [[], []];
  child.stdout.on("data", (chunk: Buffer) => out?.push(chunk));
  child.stderr.on("data", (chunk: Buffer) => err?.push(chunk));
  const [code] = await once(child, "close");
  if (code !== 0) throw new Error(`against ${peer.name}: ${Buffer.concat(err ?? [])}`);
  return JSON.parse(Buffer.concat(out ?? []).toString());
}

/** The folder in the cache; "" where it cannot be had. */
function installed(): string {
  const cache = process.env.CUSTODY_CACHE ?? join(homedir(), ".cache", "custody");
  const folder = join(cache, "psycopg-3.3.2");
  if (existsSync(folder)) return folder;
  // Moved into place when it is whole: what another run left half done is not taken for it.
  const making = `${folder}.${process.pid}`;
  mkdirSync(making, { recursive: true });
  const wanted = join(making, "requirements.txt");
  writeFileSync(wanted, REQUIREMENTS);
  const words = ["-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes"];
  const only = ["--only-binary", ":all:", "--disable-pip-version-check", "--retries", "1"];
  const args = [...words, ...only, "--target", making, "--requirement", wanted];
  const pip = spawnSync(PYTHON, args, { timeout: INSTALL_TIMEOUT_MS, stdio: "ignore" });
  try {
    // Another run may have been faster.
    if (pip.status === 0 && !existsSync(folder)) renameSync(making, folder);
  } finally {
    rmSync(making, { recursive: true, force: true });
  }
  return pip.status === 0 ? folder : "";
}

/** `180006` is 18.6. */
function versionOf(version: number): string {
  return `${Math.floor(version / 10_000)}.${version % 10_000}`;
}

function environment(): Record<string, string> {
  return { PATH: process.env.PATH ?? "", LC_ALL: "C.UTF-8", PYTHONPATH };
}
