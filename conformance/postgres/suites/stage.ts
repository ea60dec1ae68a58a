// Where the suites run: Debian's server, reached directly and through the gateway as a transparent target, as
// one where everything is permitted that policies can permit, and as one under the policies as shipped. Nothing
// but who answers differs: the same role, databases, settings and programs.

import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { runCustody } from "../../support/command-line.ts";
import { startGateway } from "../../support/gateway.ts";
import { startOidcProvider } from "../../support/oidc-provider.ts";
import { startPostgres, type TestPostgres } from "../../support/postgres-server.ts";
import { providerConfiguration } from "../../support/provider-configuration.ts";

export const PROFILES = ["direct", "transparent", "permissive", "enforcing"] as const;
export type Profile = (typeof PROFILES)[number];

/** What the programs are given to connect with. */
export interface SuiteDoor {
  /** The process ids that clients are told are the gateway's own: nobody finds what waits for a lock by them. */
  readonly hidesProcessIds: boolean;
  /** Their databases are there; else the programs make them. */
  readonly hasDatabases: boolean;
  readonly host: string;
  readonly port: number;
  /** Also the name of the target: its clients call themselves as they do without a gateway. */
  readonly user: string;
  readonly password: string;
  readonly caFile: string;
}

export interface SuiteStage extends AsyncDisposable {
  readonly server: TestPostgres;
  readonly door: SuiteDoor;
}

const USER = "postgres";

/** Everybody may do everything that policies can permit. */
const EVERYTHING = `
@id("suite-does-everything")
permit (principal, action, resource is SQL::Table);
@id("suite-does-everything-in-schemas")
permit (principal, action, resource is SQL::Schema);
@id("suite-does-everything-with-functions")
permit (principal, action, resource is SQL::Function);
@id("suite-connects")
permit (principal, action == Custody::Action::"connect", resource);
@id("suite-delegates")
permit (principal, action == Custody::Action::"delegate", resource);
`;

/** In place of the shipped ones, which the enforcing profile keeps as they are. */
const PERMISSIVE = {
  ...Object.fromEntries(
    ["agents", "guards", "people", "operators"].map((name) => [`${name}.cedar`, ""]),
  ),
  "suite.cedar": EVERYTHING,
};

export async function openSuiteStage(profile: Profile, installation: string): Promise<SuiteStage> {
  await using parts = new AsyncDisposableStack();
  const server = parts.use(
    await startPostgres({
      binaries: installation,
      superuser: USER,
      settings: { max_connections: "60", max_prepared_transactions: "0" },
    }),
  );
  let door: SuiteDoor = {
    hidesProcessIds: false,
    hasDatabases: profile === "enforcing",
    host: server.host,
    port: server.port,
    user: USER,
    password: server.password,
    caFile: server.caFile ?? "",
  };
  if (profile === "permissive") await server.query(USER, CLASSIFIED);
  if (profile === "enforcing") await makeDatabases(server);
  if (profile !== "direct") {
    const folder = mkdtempSync(join(tmpdir(), "custody-suites-"));
    parts.defer(() => rmSync(folder, { recursive: true, force: true }));
    door = await gatewayDoor(parts, folder, server, profile);
  }
  const all = parts.move();
  return { server, door, [Symbol.asyncDispose]: () => all.disposeAsync() };
}

/** Of the regression and the isolation suite. */
const DATABASES = ["regression", "isolation_regression"];

/** As pg_regress sets them (create_database). */
const DATABASE_SETTINGS = [
  ...["lc_messages", "lc_monetary", "lc_numeric", "lc_time"].map((name) => `${name} to 'C'`),
  "bytea_output to 'hex'",
  "timezone_abbreviations to 'Default'",
];

/** What targets that decide have a class on; of the permissive one in a database the suites do not use. */
const CLASSIFIED = "create table public.classified (id int, secret text)";

/** As the programs make them themselves elsewhere; the shipped policies leave that to migrations. */
async function makeDatabases(server: TestPostgres): Promise<void> {
  for (const name of DATABASES) {
    await server.query(USER, `create database ${name} template template0`);
    for (const setting of DATABASE_SETTINGS)
      await server.query(USER, `alter database ${name} set ${setting}`);
  }
  await server.query("regression", CLASSIFIED);
}

async function gatewayDoor(
  parts: AsyncDisposableStack,
  folder: string,
  server: TestPostgres,
  profile: Exclude<Profile, "direct">,
): Promise<SuiteDoor> {
  const provider = parts.use(
    await startOidcProvider({ accounts: [{ name: "engineer", groups: ["engineers"] }] }),
  );
  const file = (name: string, text: string) => {
    const path = join(folder, name);
    writeFileSync(path, text, { mode: 0o600 });
    return path;
  };
  const secret = `"file:${file("superuser", server.password)}"`;
  const mode = profile === "transparent" ? "      mode: transparent-for-tests-only\n" : "";
  const database = profile === "enforcing" ? "regression" : USER;
  const classify =
    profile === "transparent"
      ? ""
      : `    classify: [ { column: ${database}.public.classified.secret, class: test.secret } ]\n`;
  const gateway = parts.use(
    await startGateway({
      folder: join(folder, "gateway"),
      ...(profile === "enforcing" ? {} : { policies: PERMISSIVE }),
      configuration: `
${providerConfiguration(provider, file("provider-ca.pem", provider.ca))}targets:
  ${USER}:
    postgres:
      host: localhost
      port: ${server.port}
      tls: { caFile: ${file("database-ca.pem", server.ca ?? "")} }
${mode}      accounts:
        app: { credential: { fixed-role: { user: ${USER}, password: ${secret} } } }
      catalogue: { user: ${USER}, password: ${secret}, database: postgres }
${classify}    tags: { env: test }
`,
    }),
  );
  const home = join(folder, "home");
  mkdirSync(home, { mode: 0o700 });
  const token = file("id-token", await provider.idToken("engineer"));
  const custody = async (args: readonly string[]) => {
    const result = await runCustody([...args, "--json"], { home });
    if (result.exitCode !== 0)
      throw new Error(`custody ${args[0]}: ${result.stdout}${result.stderr}`);
    return result.json;
  };
  await custody([
    ...["login", gateway.url, "--ca-fingerprint", gateway.fingerprint, "--token-file", token],
  ]);
  const issued = await custody([
    ...["delegate", "--actor", "suite", "--target", USER, "--account", "app"],
    ...["--actions", profile === "enforcing" ? "sql:data" : "sql:*", "--resources", "*"],
    ...["--ttl", "8h", "--handle"],
  ]);
  return {
    ...gateway.postgres,
    hidesProcessIds: profile !== "transparent",
    hasDatabases: profile === "enforcing",
    user: USER,
    password: String((issued as { access_token: string }).access_token),
    // The programs run as another account, which has to read it.
    caFile: shared(parts, gateway.caFile),
  };
}

function shared(parts: AsyncDisposableStack, file: string): string {
  const folder = mkdtempSync(join(tmpdir(), "custody-suites-ca-"));
  parts.defer(() => rmSync(folder, { recursive: true, force: true }));
  chmodSync(folder, 0o755);
  const path = join(folder, "ca.pem");
  writeFileSync(path, readFileSync(file), { mode: 0o644 });
  return path;
}
