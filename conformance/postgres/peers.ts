// The two ends every case is run against: PostgreSQL itself, and the same database through the gateway.

import { randomBytes } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { runCustody } from "../support/command-line.ts";
import { startGateway, type TestGateway } from "../support/gateway.ts";
import { startOidcProvider } from "../support/oidc-provider.ts";
import { startPostgres, type TestPostgres } from "../support/postgres-server.ts";
import { providerConfiguration } from "../support/provider-configuration.ts";

/** What a client is given to connect with. */
export interface Peer {
  readonly name: "direct" | "gateway";
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly password: string;
  readonly database: string;
  readonly caFile: string;
}

/** For a program that uses libpq, or reads its variables: this peer, and nothing of who runs the suite. */
export function libpqEnvironment(peer: Peer): Record<string, string> {
  return {
    PATH: process.env.PATH ?? "",
    PGHOST: "localhost",
    PGHOSTADDR: peer.host,
    PGPORT: String(peer.port),
    PGUSER: peer.user,
    PGPASSWORD: peer.password,
    PGDATABASE: peer.database,
    PGSSLMODE: "verify-full",
    PGSSLROOTCERT: peer.caFile,
    LC_ALL: "C.UTF-8",
  };
}

export interface Peers extends AsyncDisposable {
  readonly direct: Peer;
  readonly gateway: Peer;
  readonly server: TestPostgres;
  readonly process: TestGateway;
}

const DATABASE = "test";

/** Starts both. The data is the same: cases put back what they change. */
export async function openPeers(settings: Readonly<Record<string, string>> = {}): Promise<Peers> {
  await using parts = new AsyncDisposableStack();
  const folder = mkdtempSync(join(tmpdir(), "custody-conformance-"));
  parts.defer(() => rmSync(folder, { recursive: true, force: true }));
  const server = parts.use(await startPostgres({ databases: [DATABASE], settings }));
  const accounts = [{ name: "engineer", groups: ["engineers"] }];
  const provider = parts.use(await startOidcProvider({ accounts }));
  const passwords = { admin: randomPassword(), direct: randomPassword() };
  const seed = readFileSync(new URL("seed.sql", import.meta.url), "utf8");
  await server.query(
    DATABASE,
    seed
      .replaceAll(":admin_password", `'${passwords.admin}'`)
      .replaceAll(":direct_password", `'${passwords.direct}'`),
  );
  const file = (name: string, text: string) => {
    const path = join(folder, name);
    writeFileSync(path, text, { mode: 0o600 });
    return JSON.stringify(path);
  };
  const databaseCa = file("database-ca.pem", server.ca ?? "");
  const passwordFile = JSON.stringify(`file:${JSON.parse(file("admin", passwords.admin))}`);
  const gateway = parts.use(
    await startGateway({
      folder: join(folder, "gateway"),
      // The starter's guards hold every DELETE; this suite is about clients, not about people.
      policies: {
        "guards.cedar": readFileSync(new URL("policies.cedar", import.meta.url), "utf8"),
      },
      configuration: `
${providerConfiguration(provider, file("provider-ca.pem", provider.ca))}targets:
  suite:
    postgres:
      host: localhost
      port: ${server.port}
      tls: { caFile: ${databaseCa} }
      databases: [${DATABASE}]
      accounts:
        app:
          credential:
            session-role:
              profile: suite
              admin: { user: custody_admin, password: ${passwordFile}, database: ${DATABASE} }
    tags: { env: test }
`,
    }),
  );
  const handle = await delegate(gateway, folder, await provider.idToken("engineer"));
  const all = parts.move();
  return {
    server,
    process: gateway,
    direct: {
      name: "direct",
      host: server.host,
      port: server.port,
      user: "direct",
      password: passwords.direct,
      database: DATABASE,
      caFile: server.caFile ?? "",
    },
    gateway: {
      name: "gateway",
      ...gateway.postgres,
      user: "suite",
      password: handle,
      database: DATABASE,
      caFile: gateway.caFile,
    },
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  };
}

function randomPassword(): string {
  return randomBytes(24).toString("base64url");
}

/** A handle for an agent that may do what the suite does. */
async function delegate(gateway: TestGateway, home: string, idToken: string): Promise<string> {
  const tokenFile = join(home, "id-token");
  writeFileSync(tokenFile, idToken, { mode: 0o600 });
  await succeed(home, [
    ...["login", gateway.url, "--ca-fingerprint", gateway.fingerprint],
    ...["--token-file", tokenFile],
  ]);
  const issued = await succeed(home, [
    ...["delegate", "--actor", "suite", "--target", "suite", "--account", "app"],
    ...["--actions", "sql:data", "--resources", `${DATABASE}/*`, "--ttl", "1h", "--handle"],
  ]);
  return String((issued as { access_token: string }).access_token);
}

async function succeed(home: string, args: readonly string[]): Promise<unknown> {
  const result = await runCustody([...args, "--json"], { home });
  if (result.exitCode !== 0)
    throw new Error(`custody ${args[0]}: ${result.stdout}${result.stderr}`);
  return result.json;
}

/** Resident memory of the gateway, bytes; undefined where the system does not say. */
export function residentBytes(pid: number): number | undefined {
  try {
    const status = readFileSync(`/proc/${pid}/status`, "utf8");
    return Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1]) * 1024;
  } catch {
    return undefined;
  }
}
