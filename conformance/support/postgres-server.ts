// A real PostgreSQL for tests and the demo, from the binaries npm carries: TLS with a throw-away
// authority, SCRAM passwords, a free port, a data directory that goes away with it.
//
//   await using server = await startPostgres({ databases: ["shop"] });
//   const client = new pg.Client(server.connection("shop"));
//
// The server is a child of a small shell that watches a pipe to this process: when the pipe ends,
// because of dispose or because this process died in whatever way, the shell stops the server and
// removes its directory. Nothing is left in `ps` or in the temporary folder.

import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { chownSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import pg from "pg";
import { createTestAuthority } from "./certificates.ts";
import { freePort, onFreePorts, saysTaken } from "./free-port.ts";
import {
  findPostgres,
  inFolder,
  type PostgresBinaries,
  type RunAs,
  serverAccount,
} from "./postgres-binaries.ts";

export interface PostgresOptions {
  /** Databases to create; `postgres` always exists. */
  readonly databases?: readonly string[];
  /** The superuser's name; default `postgres`. Its password is made at run time. */
  readonly superuser?: string;
  /** Lines for postgresql.conf, over the ones set here. */
  readonly settings?: Readonly<Record<string, string>>;
  /** An installation of another version than npm's: `/usr/lib/postgresql/15`. */
  readonly binaries?: string;
  /** Default true: the server offers TLS, and takes TCP connections only inside it. */
  readonly tls?: boolean;
  /** Default false: data is not flushed, for speed. True: as PostgreSQL itself does. */
  readonly durable?: boolean;
}

/** What a driver needs; spread it into `new pg.Client(...)`. */
export interface PostgresConnection {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly password: string;
  readonly database: string;
  readonly ssl: false | { readonly ca: string; readonly servername: string };
}

export interface TestPostgres extends AsyncDisposable {
  readonly host: string;
  readonly port: number;
  readonly superuser: string;
  readonly password: string;
  /** As the server says it: `18.4`. */
  readonly version: string;
  /** The authority of the server's certificate, as a PEM file and as text; undefined without TLS. */
  readonly caFile: string | undefined;
  readonly ca: string | undefined;
  /** The folder of the Unix socket: `psql -h <folder>`. */
  readonly socketFolder: string;
  readonly logFile: string;
  readonly dataFolder: string;
  /** The postmaster's process id, while it runs. */
  pid(): number | undefined;
  /** The superuser's login on TCP. */
  connection(database?: string): PostgresConnection;
  /** Runs SQL as the superuser; several statements are fine. Rows of the last one. */
  query(database: string, sql: string): Promise<Record<string, unknown>[]>;
  /** Stops the server and keeps its data; `start` brings it back on the same port. */
  stop(): Promise<void>;
  start(): Promise<void>;
}

const HOST = "127.0.0.1";
const START_TIMEOUT_MS = 30_000;
const STOP_TIMEOUT_MS = 15_000;

/**
 * $1 the postgres binary, $2 the data folder, $3 the port, $4 the folder to remove, $5 the log.
 * A line `keep` on the pipe stops the server and keeps its data; the end of the pipe removes it too.
 */
const WATCHED_SERVER = `
exec 3<&0
"$1" -D "$2" -p "$3" </dev/null >>"$5" 2>&1 3<&- &
server=$!
keep=
{
  read -r line <&3
  [ "$line" = keep ] && : >"$4/keep"
  kill -INT "$server" 2>/dev/null
} &
watcher=$!
wait "$server"
status=$?
if [ -e "$4/keep" ]; then rm -f "$4/keep"
elif ! kill -0 "$watcher" 2>/dev/null; then rm -rf "$4"
fi
kill "$watcher" 2>/dev/null
exit "$status"
`;

/** Starts a server and returns when it takes connections. */
export async function startPostgres(options: PostgresOptions = {}): Promise<TestPostgres> {
  const account = serverAccount();
  const binaries =
    options.binaries === undefined ? findPostgres(account) : inFolder(options.binaries);
  const layout = prepareFolder(account);
  const superuser = options.superuser ?? "postgres";
  const password = randomBytes(24).toString("base64url");
  let running: Running;
  try {
    initialise(binaries, layout, account, superuser, password);
    configure(layout, account, options);
    running = await startOnFreePort(binaries, layout, account);
  } catch (error) {
    rmSync(layout.folder, { recursive: true, force: true });
    throw error;
  }
  return await serverObject({ binaries, layout, account, superuser, password, options, running });
}

interface Layout {
  readonly folder: string;
  readonly data: string;
  readonly log: string;
  readonly caFile: string;
}

interface Running {
  readonly child: ChildProcess;
  readonly port: number;
}

interface ServerParts {
  readonly binaries: PostgresBinaries;
  readonly layout: Layout;
  readonly account: RunAs | undefined;
  readonly superuser: string;
  readonly password: string;
  readonly options: PostgresOptions;
  readonly running: Running;
}

async function serverObject(parts: ServerParts): Promise<TestPostgres> {
  const { layout, superuser, password, options } = parts;
  const { port } = parts.running;
  const tls = options.tls !== false;
  const ca = tls ? readFileSync(layout.caFile, "utf8") : undefined;
  let running: Running | undefined = parts.running;
  const connection = (database = "postgres"): PostgresConnection => ({
    host: HOST,
    port,
    user: superuser,
    password,
    database,
    ssl: ca === undefined ? false : { ca, servername: "localhost" },
  });
  const query = (database: string, sql: string) => runSql(connection(database), sql);
  const [row] = await query("postgres", "show server_version");
  for (const name of options.databases ?? [])
    await query("postgres", `create database ${pg.escapeIdentifier(name)}`);
  return {
    host: HOST,
    port,
    superuser,
    password,
    version: String(row?.server_version),
    caFile: tls ? layout.caFile : undefined,
    ca,
    socketFolder: layout.folder,
    logFile: layout.log,
    dataFolder: layout.data,
    pid: () => (running === undefined ? undefined : postmasterState(layout).pid),
    connection,
    query,
    async stop() {
      if (running === undefined) return;
      const { child } = running;
      running = undefined;
      child.stdin?.end("keep\n");
      await ended(child);
    },
    async start() {
      running ??= await startOn(parts.binaries, layout, parts.account, port);
    },
    async [Symbol.asyncDispose]() {
      if (running !== undefined) {
        const { child } = running;
        running = undefined;
        child.stdin?.end();
        await ended(child);
      }
      rmSync(layout.folder, { recursive: true, force: true });
    },
  };
}

function prepareFolder(account: RunAs | undefined): Layout {
  const folder = mkdtempSync(join(tmpdir(), "custody-pg-"));
  if (account !== undefined) chownSync(folder, account.uid, account.gid);
  return {
    folder,
    data: join(folder, "data"),
    log: join(folder, "server.log"),
    caFile: join(folder, "ca.crt"),
  };
}

function initialise(
  binaries: PostgresBinaries,
  layout: Layout,
  account: RunAs | undefined,
  superuser: string,
  password: string,
): void {
  const passwordFile = join(layout.folder, "password");
  writeOwned(passwordFile, password, account);
  const done = spawnSync(
    binaries.initdb,
    [
      ...["-D", layout.data, "-U", superuser, "-A", "scram-sha-256", "--pwfile", passwordFile],
      ...["--locale=C", "--encoding=UTF8", "--no-sync", "--no-instructions"],
    ],
    { ...account, cwd: layout.folder, env: serverEnvironment(), encoding: "utf8" },
  );
  rmSync(passwordFile);
  if (done.status !== 0) throw new Error(`initdb failed: ${done.stderr || done.error?.message}`);
}

function configure(layout: Layout, account: RunAs | undefined, options: PostgresOptions): void {
  const tls = options.tls !== false;
  const settings: Record<string, string> = {
    listen_addresses: HOST,
    unix_socket_directories: layout.folder,
    password_encryption: "scram-sha-256",
    max_connections: "100",
    shared_buffers: "32MB",
    // Readable times and a line for each statement's end are not wanted; failures are.
    log_min_messages: "warning",
    timezone: "UTC",
    log_timezone: "UTC",
    ...(options.durable === true ? {} : { fsync: "off", full_page_writes: "off" }),
    ...(tls ? { ssl: "on" } : {}),
    ...options.settings,
  };
  if (tls) {
    const authority = createTestAuthority("Throw-away CA of a test PostgreSQL");
    const server = authority.issue(["localhost", HOST, "::1"]);
    writeOwned(layout.caFile, authority.cert, account);
    writeOwned(join(layout.data, "server.key"), server.key, account);
    writeOwned(join(layout.data, "server.crt"), server.cert, account);
  }
  const lines = Object.entries(settings).map(
    ([name, value]) => `${name} = '${value.replaceAll("'", "''")}'\n`,
  );
  writeOwned(join(layout.data, "postgresql.auto.conf"), lines.join(""), account);
  const rules = [
    "local all all scram-sha-256",
    `${tls ? "hostssl" : "host"} all all 127.0.0.1/32 scram-sha-256`,
    `${tls ? "hostssl" : "host"} replication all 127.0.0.1/32 scram-sha-256`,
  ];
  writeOwned(join(layout.data, "pg_hba.conf"), `${rules.join("\n")}\n`, account);
}

function startOnFreePort(
  binaries: PostgresBinaries,
  layout: Layout,
  account: RunAs | undefined,
): Promise<Running> {
  return onFreePorts(
    async () => startOn(binaries, layout, account, await freePort()),
    () => {
      const isTaken = existsSync(layout.log) && saysTaken(readFileSync(layout.log, "utf8"));
      if (isTaken) rmSync(layout.log);
      return isTaken;
    },
  );
}

async function startOn(
  binaries: PostgresBinaries,
  layout: Layout,
  account: RunAs | undefined,
  port: number,
): Promise<Running> {
  const child = spawn(
    "/bin/sh",
    [
      ...["-c", WATCHED_SERVER, "custody-test-postgres"],
      ...[binaries.postgres, layout.data, String(port), layout.folder, layout.log],
    ],
    // A process group of its own: ctrl-C at a terminal must reach us, who stop the server in order.
    {
      ...account,
      cwd: layout.folder,
      env: serverEnvironment(),
      stdio: ["pipe", "ignore", "ignore"],
      detached: true,
    },
  );
  child.stdin?.on("error", () => undefined);
  const deadline = Date.now() + START_TIMEOUT_MS;
  for (;;) {
    if (postmasterState(layout).ready) break;
    if (child.exitCode !== null || Date.now() > deadline) {
      child.stdin?.end("keep\n");
      await ended(child);
      const log = existsSync(layout.log) ? readFileSync(layout.log, "utf8") : "(no log)";
      throw new Error(`PostgreSQL did not start:\n${log}`);
    }
    await delay(15);
  }
  // An open server must not keep a test process alive that has nothing else to do.
  child.unref();
  (child.stdin as unknown as { unref?: () => void } | null)?.unref?.();
  return { child, port };
}

/** postmaster.pid: the first line is the process id, the eighth the state. */
function postmasterState(layout: Layout): { pid: number | undefined; ready: boolean } {
  const file = join(layout.data, "postmaster.pid");
  if (!existsSync(file)) return { pid: undefined, ready: false };
  const lines = readFileSync(file, "utf8").split("\n");
  return { pid: Number(lines[0]) || undefined, ready: lines[7]?.trim() === "ready" };
}

async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.ref();
  const exit = once(child, "exit");
  const timer = setTimeout(() => {
    if (child.pid !== undefined) process.kill(-child.pid, "SIGKILL");
  }, STOP_TIMEOUT_MS);
  await exit;
  clearTimeout(timer);
}

async function runSql(
  connection: PostgresConnection,
  sql: string,
): Promise<Record<string, unknown>[]> {
  const client = new pg.Client(connection);
  await client.connect();
  try {
    const result: pg.QueryResult | pg.QueryResult[] = await client.query(sql);
    const last = Array.isArray(result) ? result.at(-1) : result;
    return last?.rows ?? [];
  } finally {
    await client.end();
  }
}

function writeOwned(path: string, text: string, account: RunAs | undefined): void {
  writeFileSync(path, text, { mode: 0o600 });
  if (account !== undefined) chownSync(path, account.uid, account.gid);
}

/** Nothing of ours reaches the server: no PG* variables, no tokens. */
function serverEnvironment(): NodeJS.ProcessEnv {
  return { PATH: process.env.PATH ?? "/usr/bin:/bin", LC_ALL: "C", TZ: "UTC" };
}
