// What every check stands on: one PostgreSQL that logs each statement, one identity provider, and as
// many gateways in front of them as a check asks for, each a process of its own.

import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import pg from "pg";
import { type CommandResult, runCustody } from "../support/command-line.ts";
import { restartGateway, startGateway, type TestGateway } from "../support/gateway.ts";
import { startOidcProvider, type TestOidcProvider } from "../support/oidc-provider.ts";
import { startPostgres, type TestPostgres } from "../support/postgres-server.ts";
import { providerConfiguration } from "../support/provider-configuration.ts";
import { type Leaf, verifiedLeaves } from "./leaves.ts";

export interface SubjectOptions {
  /** Lines below `limits:`. */
  readonly limits?: Readonly<Record<string, string | number>>;
  /** In place of the target `suite`, or more of them: YAML below `targets:`. */
  readonly targets?: string;
  readonly policies?: Readonly<Record<string, string>>;
  /** Default: a new folder. */
  readonly folder?: string;
  readonly env?: Readonly<Record<string, string>>;
}

/** A gateway under test, which may be killed and started again. */
export interface Subject extends AsyncDisposable {
  readonly folder: string;
  /** The process that runs now. */
  gateway: TestGateway;
  /** A handle of an agent that may do what the suite does. */
  readonly handle: string;
  /** A session of node-postgres, its errors kept. */
  connect(options?: ConnectOptions): Promise<pg.Client>;
  restart(): Promise<void>;
  /** SIGKILL of all its processes, and its end. */
  kill(): Promise<void>;
  /** `custody …` as the engineer who is signed in. */
  custody(args: readonly string[]): Promise<CommandResult>;
  /** Login roles its gateway made on the suite's server and has not dropped. */
  roles(): Promise<string[]>;
  /** Checks the whole log with the key; gives its leaves, in order. */
  verify(): Promise<Leaf[]>;
}

export interface ConnectOptions {
  readonly user?: string;
  readonly password?: string;
  readonly database?: string;
}

export interface World extends AsyncDisposable {
  readonly folder: string;
  readonly server: TestPostgres;
  readonly provider: TestOidcProvider;
  readonly passwords: { readonly admin: string; readonly fixed: string };
  subject(options?: SubjectOptions): Promise<Subject>;
  /** The last that was made, for what its gateway had to say when a check failed. */
  readonly latest: Subject | undefined;
  /** `postgres: …` of the target, with some of it replaced. */
  targetYaml(name: string, changes?: TargetChanges): string;
  /** Statements that came from sessions of gateways, as the server logged them. */
  executed(): string[];
  /** Roles whose names begin so. */
  sessionRoles(prefix: string): Promise<string[]>;
}

export interface TargetChanges {
  readonly port?: number;
  readonly caFile?: string;
  readonly adminPassword?: string;
}

export const DATABASE = "test";

export async function openWorld(): Promise<World> {
  await using parts = new AsyncDisposableStack();
  const folder = mkdtempSync(join(tmpdir(), "custody-resilience-"));
  parts.defer(() => rmSync(folder, { recursive: true, force: true }));
  const server = parts.use(
    await startPostgres({
      databases: [DATABASE],
      settings: { log_statement: "all", log_line_prefix: "%u|%p|", max_connections: "300" },
    }),
  );
  const accounts = [{ name: "engineer", groups: ["engineers"] }];
  const provider = parts.use(await startOidcProvider({ accounts }));
  const passwords = { admin: randomPassword(), fixed: randomPassword() };
  const seed = readFileSync(new URL("seed.sql", import.meta.url), "utf8")
    .replaceAll(":admin_password", `'${passwords.admin}'`)
    .replaceAll(":fixed_password", `'${passwords.fixed}'`);
  await server.query(DATABASE, seed);
  const file = (name: string, text: string) => {
    const path = join(folder, name);
    writeFileSync(path, text, { mode: 0o600 });
    return path;
  };
  const files: Files = {
    databaseCa: file("database-ca.pem", server.ca ?? ""),
    providerCa: file("provider-ca.pem", provider.ca),
    admin: file("admin-password", passwords.admin),
    fixed: file("fixed-password", passwords.fixed),
    file,
  };
  const all = parts.move();
  let made = 0;
  let latest: Subject | undefined;
  const world: World = {
    folder,
    server,
    provider,
    passwords,
    async subject(options = {}) {
      latest = await openSubject(world, files, options, `gateway-${++made}`);
      return latest;
    },
    get latest() {
      return latest;
    },
    targetYaml: (name, changes = {}) => targetYaml(server, files, name, changes),
    executed: () =>
      readFileSync(server.logFile, "utf8")
        .split("\n")
        .filter((line) => /^(custody_[a-z0-9]+_|fixed)[^|]*\|/.test(line)),
    async sessionRoles(prefix) {
      const rows = await server.query(
        DATABASE,
        `select rolname from pg_roles where starts_with(rolname, '${prefix}')`,
      );
      return rows.map((row) => String(row.rolname));
    },
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  };
  return world;
}

interface Files {
  readonly databaseCa: string;
  readonly providerCa: string;
  readonly admin: string;
  readonly fixed: string;
  readonly file: (name: string, text: string) => string;
}

function targetYaml(
  server: TestPostgres,
  files: Files,
  name: string,
  changes: TargetChanges,
): string {
  const admin =
    changes.adminPassword === undefined
      ? files.admin
      : files.file(`admin-of-${name}`, changes.adminPassword);
  return `  ${name}:
    postgres:
      host: localhost
      port: ${changes.port ?? server.port}
      tls: { caFile: ${changes.caFile ?? files.databaseCa} }
      accounts:
        app:
          credential:
            session-role:
              profile: suite
              admin: { user: custody_admin, password: "file:${admin}", database: ${DATABASE} }
    tags: { env: test }
`;
}

async function openSubject(
  world: World,
  files: Files,
  options: SubjectOptions,
  name: string,
): Promise<Subject> {
  const folder = options.folder ?? join(world.folder, name);
  const home = join(world.folder, `home-${name}`);
  mkdirSync(home, { recursive: true, mode: 0o700 });
  const limits = { startupTimeout: "3s", targetConnectTimeout: "4s", ...options.limits };
  const { provider } = world;
  const first = await startGateway({
    folder,
    admin: true,
    env: options.env ?? {},
    policies: {
      "guards.cedar": readFileSync(new URL("policies.cedar", import.meta.url), "utf8"),
      ...options.policies,
    },
    configuration: `
${providerConfiguration(provider, files.providerCa)}targets:
${world.targetYaml("suite")}${options.targets ?? ""}
limits: ${JSON.stringify(limits)}
`,
  });
  const custody = (args: readonly string[]) => runCustody([...args, "--json"], { home });
  const tokenFile = join(home, "id-token");
  writeFileSync(tokenFile, await provider.idToken("engineer"), { mode: 0o600 });
  await succeed(custody, [
    ...["login", first.url, "--ca-fingerprint", first.fingerprint],
    ...["--token-file", tokenFile],
  ]);
  const names = ["suite", ...targetNames(options.targets ?? "")];
  const issued = await succeed(custody, [
    ...["delegate", "--actor", "suite", ...names.flatMap((one) => ["--target", one])],
    ...["--account", "app", "--actions", "sql:data", "--resources", `${DATABASE}/*`],
    ...["--ttl", "1h", "--handle"],
  ]);
  const handle = String((issued as { access_token: string }).access_token);
  const subject: Subject = {
    folder,
    gateway: first,
    handle,
    custody,
    connect: (connection = {}) => connectClient(subject, connection),
    async kill() {
      // Its data processes too, where it has some: this one first, as nothing else would stop them.
      const { pid } = subject.gateway;
      const children = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8");
      for (const one of [pid, ...children.split(" ").filter(Number).map(Number)])
        process.kill(one, "SIGKILL");
      await subject.gateway.process.exited;
    },
    async restart() {
      await subject.gateway.process.stop();
      subject.gateway = await restartGateway(folder, options.env);
    },
    roles() {
      const instance = readFileSync(join(folder, "data", "instance"), "utf8").trim();
      return world.sessionRoles(`custody_${instance}_`);
    },
    verify: () => verifiedLeaves(subject.gateway.dataFolder),
    async [Symbol.asyncDispose]() {
      await subject.gateway.process.stop();
    },
  };
  return subject;
}

function targetNames(yaml: string): string[] {
  return [...yaml.matchAll(/^ {2}([a-z0-9-]+):$/gm)].map((match) => match[1] ?? "");
}

async function connectClient(subject: Subject, options: ConnectOptions): Promise<pg.Client> {
  const client = new pg.Client({
    ...subject.gateway.postgres,
    user: options.user ?? "suite",
    password: options.password ?? subject.handle,
    database: options.database ?? DATABASE,
    ssl: { ca: readFileSync(subject.gateway.caFile, "utf8"), servername: "localhost" },
  });
  // Sessions end in these checks; whoever waits for a query hears of it there.
  client.on("error", () => undefined);
  await client.connect();
  return client;
}

async function succeed(
  custody: (args: readonly string[]) => Promise<CommandResult>,
  args: readonly string[],
): Promise<unknown> {
  const result = await custody(args);
  if (result.exitCode !== 0)
    throw new Error(`custody ${args[0]}: ${result.stdout}${result.stderr}`);
  return result.json;
}

function randomPassword(): string {
  return randomBytes(24).toString("base64url");
}

/** What the system knows of a process: memory in bytes and open files. */
export function usageOf(pid: number): { residentBytes: number; files: number } {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  return {
    residentBytes: Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1]) * 1024,
    files: readdirSync(`/proc/${pid}/fd`).length,
  };
}

/** Waits until `holds` is true, or fails with `what`. */
export async function until(
  what: string,
  holds: () => boolean | Promise<boolean>,
  timeoutMs = 30_000,
): Promise<void> {
  const deadline = Date.now() + timeoutMs;
  while (!(await holds())) {
    if (Date.now() > deadline) throw new Error(`not within ${timeoutMs / 1000} s: ${what}`);
    await delay(25);
  }
}

/** Ends a client however its session ended. */
export async function hangUp(client: pg.Client): Promise<void> {
  await Promise.race([client.end().catch(() => undefined), once(client, "end"), delay(2000)]);
}
