// What the benchmarks about connections run against: a PostgreSQL, a gateway as shipped, and a chain of
// delegations, each below the one before.

import { randomBytes } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import pg from "pg";
import { runCustody } from "../conformance/support/command-line.ts";
import { startGateway, type TestGateway } from "../conformance/support/gateway.ts";
import { startOidcProvider } from "../conformance/support/oidc-provider.ts";
import { startPostgres, type TestPostgres } from "../conformance/support/postgres-server.ts";
import { providerConfiguration } from "../conformance/support/provider-configuration.ts";

export interface Delegated {
  readonly id: string;
  readonly handle: string;
}

export interface LiveStage extends AsyncDisposable {
  readonly postgres: TestPostgres;
  readonly gateway: TestGateway;
  /** Of `bench_direct`, who may do on the server what sessions through the gateway may. */
  readonly directPassword: string;
  /** `hops[0]` is the child of the person, `hops[1]` its child, … */
  readonly hops: readonly Delegated[];
  /** A client of the gateway that is not connected yet. */
  client(handle: string): pg.Client;
  custody(...args: string[]): Promise<string>;
}

export interface LiveOptions {
  readonly sessions: number;
  /** Delegations below the person. */
  readonly depth: number;
  /** Processes for clients' connections. */
  readonly workers?: number;
  /** The gateway writes a CPU profile of each thread here when it ends. */
  readonly profileFolder?: string | undefined;
}

const DATABASE = "bench";

export async function openLiveStage(options: LiveOptions): Promise<LiveStage> {
  const { sessions, depth, profileFolder } = options;
  await using parts = new AsyncDisposableStack();
  const folder = mkdtempSync(join(tmpdir(), "custody-live-"));
  parts.defer(() => rmSync(folder, { recursive: true, force: true }));
  const postgres = parts.use(
    await startPostgres({
      databases: [DATABASE],
      settings: { max_connections: String(sessions + 50), deadlock_timeout: "1h" },
    }),
  );
  const admin = randomBytes(18).toString("base64url");
  await postgres.query(DATABASE, seed(admin, sessions));
  const provider = parts.use(
    await startOidcProvider({ accounts: [{ name: "engineer", groups: ["engineers"] }] }),
  );
  const write = (name: string, text: string) => {
    const path = join(folder, name);
    writeFileSync(path, text, { mode: 0o600 });
    return path;
  };
  const secret = write("admin-password", admin);
  const gateway = parts.use(
    await startGateway({
      folder: join(folder, "gateway"),
      ...(options.workers === undefined ? {} : { workers: options.workers }),
      admin: true,
      env:
        profileFolder === undefined
          ? {}
          : { NODE_OPTIONS: `--cpu-prof --cpu-prof-dir=${profileFolder}` },
      configuration: `
limits: { connections: ${sessions + 50}, sessionsPerDelegation: ${sessions} }
${providerConfiguration(provider, write("provider-ca.pem", provider.ca))}targets:
  bench:
    postgres:
      host: localhost
      port: ${postgres.port}
      tls: { caFile: ${write("postgres-ca.pem", postgres.ca ?? "")} }
      accounts:
        app:
          credential:
            session-role:
              profile: bench_profile
              admin: { user: bench_admin, password: "file:${secret}", database: ${DATABASE} }
    tags: { env: test }
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
  const hops = await delegations(folder, gateway, depth);
  const ca = readFileSync(gateway.caFile, "utf8");
  const all = parts.move();
  return {
    postgres,
    gateway,
    directPassword: admin,
    hops,
    custody,
    client: (handle) =>
      new pg.Client({
        host: "localhost",
        port: gateway.postgres.port,
        user: "bench",
        password: handle,
        database: DATABASE,
        ssl: { ca, servername: "localhost" },
      }),
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  };
}

function seed(adminPassword: string, rows: number): string {
  return `create table counters (id int primary key, value int not null);
    insert into counters select g, 0 from generate_series(1, ${rows}) g;
    create role bench_profile nologin;
    create role bench_admin login createrole password '${adminPassword}';
    create role bench_direct login password '${adminPassword}' in role bench_profile;
    grant pg_signal_backend to bench_admin;
    grant bench_profile to bench_admin with admin option;
    grant select, insert, update, delete on all tables in schema public to bench_profile`;
}

/** The first is made by the person, each other one by the one before. */
async function delegations(
  home: string,
  gateway: TestGateway,
  depth: number,
): Promise<readonly Delegated[]> {
  const hops: Delegated[] = [];
  const grant = ["--target", "bench", "--account", "*", "--actions", "connect,sql:read,sql:write"];
  for (let hop = 1; hop <= depth; hop++) {
    const above = hops[hops.length - 1];
    const env: Record<string, string> =
      above === undefined
        ? {}
        : { CUSTODY_URL: gateway.url, CUSTODY_CA: gateway.caFile, CUSTODY_TOKEN: above.handle };
    const args = ["delegate", "--actor", `hop-${hop}`, ...grant, "--resources", "*"];
    const done = await runCustody([...args, "--ttl", `${60 - hop}m`, "--handle", "--json"], {
      home,
      env,
    });
    if (done.exitCode !== 0) throw new Error(`custody delegate: ${done.stderr}${done.stdout}`);
    const { delegation_id: id, access_token: handle } = JSON.parse(done.stdout);
    hops.push({ id, handle });
  }
  return hops;
}
