// Where PostgreSQL's own replication programs run: Debian's server, which is as old as they are (they take no newer
// one), directly and through a gateway whose policies permit replicating all of it. What is written is the account's
// that runs servers, since a backup is started as one.

import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { runCustody } from "../support/command-line.ts";
import { startGateway } from "../support/gateway.ts";
import { startOidcProvider } from "../support/oidc-provider.ts";
import { serverAccount } from "../support/postgres-binaries.ts";
import { startPostgres } from "../support/postgres-server.ts";
import { providerConfiguration } from "../support/provider-configuration.ts";
import { libpqEnvironment, type Peer, type Peers } from "./peers.ts";

export interface Ran {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface Running {
  ended(): Promise<Ran>;
}

export interface ReplicationStage extends Peers {
  /** An empty folder of the account that programs run as. */
  folder(): string;
  run(peer: Peer, program: string, ...args: readonly string[]): Promise<Ran>;
  start(peer: Peer, program: string, ...args: readonly string[]): Running;
  /** A handle for this alone, and the way to revoke it. */
  delegate(
    actions: string,
    resources: string,
  ): Promise<{ readonly peer: Peer; revoke(): Promise<void> }>;
  /** Walsenders and slots, when walsenders are gone; both are to be none. */
  left(): Promise<unknown>;
}

const DATABASE = "test";
const WAIT_MS = 30_000;
const POLICIES = `@id("connects") permit (principal, action == Custody::Action::"connect", resource);
@id("replicates") permit (principal, action == SQL::Action::"replicate", resource in Custody::Target::"standby");
@id("reads") permit (principal, action in SQL::Action::"read", resource);`;

/** `/usr/lib/postgresql/15`; undefined where Debian's server is not installed. */
export function debianServer(): string | undefined {
  const all = "/usr/lib/postgresql";
  const [version] = existsSync(all) ? readdirSync(all) : [];
  const found = version === undefined ? undefined : join(all, version);
  const programs = ["postgres", "pg_basebackup", "pg_receivewal", "pg_recvlogical"];
  return found !== undefined && programs.every((name) => existsSync(join(found, "bin", name)))
    ? found
    : undefined;
}

export async function openReplicationStage(binaries: string): Promise<ReplicationStage> {
  await using parts = new AsyncDisposableStack();
  const account = serverAccount();
  const folder = mkdtempSync(join(tmpdir(), "custody-replication-"));
  parts.defer(() => rmSync(folder, { recursive: true, force: true }));
  chmodSync(folder, 0o755);
  // What is compared is to change by what a case does alone.
  const settings = { wal_level: "logical", wal_keep_size: "256MB", autovacuum: "off" };
  const server = parts.use(await startPostgres({ databases: [DATABASE], binaries, settings }));
  const password = randomBytes(24).toString("base64url");
  await server.query(DATABASE, SEED.replaceAll(":password", `'${password}'`));
  const accounts = [{ name: "engineer", groups: ["engineers"] }];
  const provider = parts.use(await startOidcProvider({ accounts }));
  const file = (name: string, text: string, mode = 0o600) => {
    const path = join(folder, name);
    writeFileSync(path, text, { mode });
    return path;
  };
  const login = `{ user: replicator, password: "file:${file("login", password)}"`;
  const gateway = parts.use(
    await startGateway({
      folder: join(folder, "gateway"),
      policies: { "guards.cedar": "", "operators.cedar": "", "replication.cedar": POLICIES },
      configuration: `
${providerConfiguration(provider, file("provider-ca.pem", provider.ca))}targets:
  standby:
    postgres:
      host: localhost
      port: ${server.port}
      tls: { caFile: ${file("database-ca.pem", server.ca ?? "")} }
      databases: [${DATABASE}]
      catalogue: ${login}, database: ${DATABASE} }
      accounts: { app: { credential: { fixed-role: ${login} } } } }
`,
    }),
  );
  const home = join(folder, "home");
  mkdirSync(home, { mode: 0o700 });
  const custody = async (...args: readonly string[]) => {
    const ran = await runCustody([...args, "--json"], { home });
    if (ran.exitCode !== 0) throw new Error(`custody ${args[0]}: ${ran.stdout}${ran.stderr}`);
    return ran.json as Record<string, unknown>;
  };
  const token = file("id-token", await provider.idToken("engineer"));
  const fingerprint = ["--ca-fingerprint", gateway.fingerprint];
  await custody("login", gateway.url, ...fingerprint, "--token-file", token);
  const caFile = file("gateway-ca.pem", readFileSync(gateway.caFile, "utf8"), 0o644);
  const door: Omit<Peer, "password"> = {
    ...{ name: "gateway", ...gateway.postgres, user: "standby", database: DATABASE, caFile },
  };
  const delegate = async (actions: string, resources: string) => {
    const issued = await custody(
      ...["delegate", "--actor", "replica", "--target", "standby", "--account", "app"],
      ...["--actions", actions, "--resources", resources, "--ttl", "1h", "--handle"],
    );
    const handle = String(issued.access_token);
    const id = `d-${/^cst_([a-z0-9]+)_/.exec(handle)?.[1]}`;
    return {
      peer: { ...door, password: handle },
      revoke: async () => void (await custody("revoke", id)),
    };
  };
  let folders = 0;
  const start = (peer: Peer, program: string, ...args: readonly string[]) =>
    begin(join(binaries, "bin", program), args, {
      ...(account ?? {}),
      cwd: folder,
      env: { ...libpqEnvironment(peer), LC_ALL: "C" },
    });
  const whole = await delegate("sql:replicate,sql:read", `*`);
  const all = parts.move();
  return {
    server,
    process: gateway,
    direct: {
      ...{ name: "direct", host: server.host, port: server.port, user: "replicator", password },
      ...{ database: DATABASE, caFile: server.caFile ?? "" },
    },
    gateway: whole.peer,
    folder() {
      const made = join(folder, `made-${++folders}`);
      mkdirSync(made, { mode: 0o700 });
      if (account !== undefined) chownSync(made, account.uid, account.gid);
      return made;
    },
    start,
    run: (...args) => start(...args).ended(),
    delegate,
    async left() {
      const senders = "select pid from pg_stat_replication";
      const deadline = performance.now() + WAIT_MS;
      while ((await server.query(DATABASE, senders)).length > 0 && performance.now() < deadline)
        await delay(50);
      const sql = `select (select count(*) from pg_stat_replication)::int as senders,
        (select count(*) from pg_replication_slots)::int as slots`;
      return (await server.query(DATABASE, sql))[0];
    },
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  };
}

function begin(
  program: string,
  args: readonly string[],
  options: { readonly uid?: number; readonly gid?: number; cwd: string; env: NodeJS.ProcessEnv },
): Running {
  const child = spawn(program, args, { ...options, stdio: ["ignore", "pipe", "pipe"] });
  const [out, err]: Buffer[][] = [[], []];
  child.stdout.on("data", (chunk: Buffer) => out?.push(chunk));
  child.stderr.on("data", (chunk: Buffer) => err?.push(chunk));
  const closed = once(child, "close");
  const text = (parts: readonly Buffer[] | undefined) => Buffer.concat(parts ?? []).toString();
  return {
    async ended() {
      const timer = setTimeout(() => child.kill(), WAIT_MS * 2);
      const [code] = (await closed) as [number | null];
      clearTimeout(timer);
      return { code, stdout: text(out), stderr: text(err) };
    },
  };
}

const SEED = `create table items (id int primary key, name text);
insert into items select n, 'item ' || n from generate_series(1, 1000) as n;
create publication items for table items;
create role replicator login replication password :password;
grant select on items to replicator;
checkpoint`;
