// What a benchmark runs against: one PostgreSQL with pgbench's tables, reached directly, through
// PgBouncer and through Custody, all three over TLS on both sides. Custody runs as shipped: starter
// policies, a class on a column, a chain of two hops, recording and journal on.

import { spawn, spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { chmodSync, chownSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { createTestAuthority } from "../conformance/support/certificates.ts";
import { runCustody } from "../conformance/support/command-line.ts";
import { freePort } from "../conformance/support/free-port.ts";
import { startGateway, type TestGateway } from "../conformance/support/gateway.ts";
import { startOidcProvider } from "../conformance/support/oidc-provider.ts";
import { serverAccount } from "../conformance/support/postgres-binaries.ts";
import { startPostgres, type TestPostgres } from "../conformance/support/postgres-server.ts";
import { providerConfiguration } from "../conformance/support/provider-configuration.ts";

/** One way to the database. */
export interface Way {
  readonly name: string;
  readonly port: number;
  readonly user: string;
  readonly password: string;
  readonly caFile: string;
  /** The process whose memory and CPU time it costs; undefined: none of its own. */
  readonly pid: number | undefined;
}

export interface BenchStage extends AsyncDisposable {
  readonly folder: string;
  readonly postgres: TestPostgres;
  readonly direct: Way;
  /** undefined with the reason printed: PgBouncer is not installed. */
  readonly pgbouncer: Way | undefined;
  readonly custody: Way;
  readonly gateway: TestGateway;
}

export const BENCH_DATABASE = "bench";

export interface BenchOptions {
  /** pgbench's scale. */
  readonly scale: number;
  /** Processes for clients' connections. */
  readonly workers?: number;
  /** The gateway writes a CPU profile of each thread here when it ends. */
  readonly profileFolder: string | undefined;
  /** Of the hundred text columns of the table `wide`, so many are classified; absent: there is no such table. */
  readonly wideClasses?: number;
}

export const WIDE_ROWS = 1_000;
const WIDE_COLUMNS = Array.from({ length: 100 }, (_, index) => `c${index + 1}`);

export async function openBenchStage(options: BenchOptions): Promise<BenchStage> {
  const { scale } = options;
  await using parts = new AsyncDisposableStack();
  const folder = mkdtempSync(join(tmpdir(), "custody-bench-"));
  chmodSync(folder, 0o755);
  parts.defer(() => rmSync(folder, { recursive: true, force: true }));
  const postgres = parts.use(
    await startPostgres({ databases: [BENCH_DATABASE], settings: { max_connections: "200" } }),
  );
  const caFile = join(folder, "postgres-ca.pem");
  writeFileSync(caFile, postgres.ca ?? "");
  const password = randomBytes(18).toString("base64url");
  await seed(postgres, password, scale, caFile);
  if (options.wideClasses !== undefined) await seedWide(postgres);
  const direct: Way = {
    name: "direct",
    port: postgres.port,
    user: "bench_app",
    password,
    caFile,
    pid: undefined,
  };
  const pgbouncer = await startPgBouncer(folder, direct, parts);
  const { custody, gateway } = await startCustody(
    { folder, postgres, caFile, password, ...options },
    parts,
  );
  const all = parts.move();
  return {
    folder,
    postgres,
    direct,
    pgbouncer,
    custody,
    gateway,
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  };
}

async function seed(
  postgres: TestPostgres,
  password: string,
  scale: number,
  caFile: string,
): Promise<void> {
  const made = spawnSync(
    "pgbench",
    ["-i", "-q", "-s", String(scale), "-h", "localhost", "-p", String(postgres.port)].concat([
      "-U",
      postgres.superuser,
      BENCH_DATABASE,
    ]),
    {
      env: {
        ...process.env,
        PGPASSWORD: postgres.password,
        PGSSLMODE: "verify-full",
        PGSSLROOTCERT: caFile,
      },
      encoding: "utf8",
    },
  );
  if (made.status !== 0) throw new Error(`pgbench -i failed: ${made.stderr ?? made.error}`);
  await postgres.query(
    BENCH_DATABASE,
    `create table customers (id int primary key, email text);
     insert into customers select g, 'c' || g || '@example.com' from generate_series(1, 1000) g;
     create unlogged table bulk (id int, kind int, note text, email text);
     create role bench_app login password '${password}';
     create role bench_profile nologin;
     create role bench_admin login createrole password '${password}';
     grant pg_signal_backend to bench_admin;
     grant bench_profile to bench_admin with admin option;
     grant select, insert, update, delete on all tables in schema public to bench_app, bench_profile`,
  );
}

async function seedWide(postgres: TestPostgres): Promise<void> {
  await postgres.query(
    BENCH_DATABASE,
    `create table wide (id int primary key, ${WIDE_COLUMNS.map((name) => `${name} text`).join(", ")});
     insert into wide select g, ${WIDE_COLUMNS.map((name) => `'${name}-' || g`).join(", ")}
       from generate_series(1, ${WIDE_ROWS}) g;
     grant select on wide to bench_app, bench_profile`,
  );
}

/** PgBouncer as its own users run it: TLS on both sides, session pooling as Custody has sessions. */
async function startPgBouncer(
  folder: string,
  direct: Way,
  parts: AsyncDisposableStack,
): Promise<Way | undefined> {
  if (spawnSync("pgbouncer", ["--version"]).status !== 0) {
    process.stderr.write("bench: pgbouncer is not installed; its rows are left out\n");
    return undefined;
  }
  const account = serverAccount();
  const own = mkdtempSync(join(folder, "pgbouncer-"));
  const file = (name: string, text: string) => {
    const path = join(own, name);
    writeFileSync(path, text, { mode: 0o600 });
    if (account !== undefined) chownSync(path, account.uid, account.gid);
    return path;
  };
  const authority = createTestAuthority();
  const { key, cert } = authority.issue(["localhost", "127.0.0.1"]);
  const port = await freePort();
  const config = file(
    "pgbouncer.ini",
    `[databases]
${BENCH_DATABASE} = host=localhost port=${direct.port} dbname=${BENCH_DATABASE}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = ${port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = ${file("users.txt", `"${direct.user}" "${direct.password}"\n`)}
pool_mode = session
default_pool_size = 100
max_client_conn = 500
client_tls_sslmode = require
client_tls_key_file = ${file("key.pem", key)}
client_tls_cert_file = ${file("cert.pem", cert)}
server_tls_sslmode = verify-full
server_tls_ca_file = ${direct.caFile}
ignore_startup_parameters = extra_float_digits
`,
  );
  if (account !== undefined) chownSync(own, account.uid, account.gid);
  const child = spawn("pgbouncer", ["-q", config], {
    stdio: "ignore",
    ...(account === undefined ? {} : { uid: account.uid, gid: account.gid }),
  });
  parts.defer(() => {
    child.kill("SIGINT");
  });
  await delay(500);
  return {
    ...direct,
    name: "pgbouncer",
    port,
    caFile: file("ca.pem", authority.cert),
    pid: child.pid,
  };
}

interface CustodyOptions extends BenchOptions {
  readonly folder: string;
  readonly postgres: TestPostgres;
  readonly caFile: string;
  readonly password: string;
}

async function startCustody(
  { caFile, folder, password, postgres, profileFolder, wideClasses = 0, workers }: CustodyOptions,
  parts: AsyncDisposableStack,
): Promise<{ readonly custody: Way; readonly gateway: TestGateway }> {
  const provider = parts.use(
    await startOidcProvider({ accounts: [{ name: "engineer", groups: ["engineers"] }] }),
  );
  const write = (name: string, text: string) => {
    const path = join(folder, name);
    writeFileSync(path, text, { mode: 0o600 });
    return path;
  };
  const wide = WIDE_COLUMNS.slice(0, wideClasses)
    .map((name) => `      - { column: public.wide.${name}, class: pii.${name} }\n`)
    .join("");
  const providerCa = write("provider-ca.pem", provider.ca);
  const secret = write("admin-password", password);
  const gateway = parts.use(
    await startGateway({
      folder: join(folder, "gateway"),
      ...(workers === undefined ? {} : { workers }),
      env:
        profileFolder === undefined
          ? {}
          : { NODE_OPTIONS: `--cpu-prof --cpu-prof-dir=${profileFolder}` },
      configuration: `
${providerConfiguration(provider, providerCa)}targets:
  bench:
    postgres:
      host: localhost
      port: ${postgres.port}
      tls: { caFile: ${caFile} }
      accounts:
        app:
          credential:
            session-role:
              profile: bench_profile
              admin: { user: bench_admin, password: "file:${secret}", database: ${BENCH_DATABASE} }
    classify:
      - { column: public.customers.email, class: pii.email }
      - { column: public.bulk.email, class: pii.email }
${wide}    tags: { env: test }
`,
    }),
  );
  const custody = async (...args: string[]): Promise<string> => {
    const done = await runCustody([...args, "--json"], { home: folder });
    if (done.exitCode !== 0) throw new Error(`custody ${args[0]}: ${done.stderr}${done.stdout}`);
    return done.stdout;
  };
  const token = write("token", await provider.idToken("engineer"));
  const trust = ["--ca-fingerprint", gateway.fingerprint, "--token-file", token];
  await custody("login", gateway.url, ...trust);
  const grant = ["--target", "bench", "--account", "*", "--actions", "connect,sql:read,sql:write"];
  const delegated = await custody(
    ...["delegate", "--actor", "bench", ...grant, "--resources", "*", "--ttl", "2h", "--handle"],
  );
  const { access_token: handle } = JSON.parse(delegated);
  const { caFile: gatewayCa, pid, postgres: at } = gateway;
  return {
    custody: {
      ...{ name: "custody", port: at.port, user: "bench", password: handle, pid },
      caFile: gatewayCa,
    },
    gateway,
  };
}
