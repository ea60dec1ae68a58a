// What is attacked: a real PostgreSQL with a value in every classified column that is nowhere else, an
// identity provider, and the gateway as shipped but for policies that permit nearly everything, so that
// what stops an attempt is the gateway's judgement and not the lack of a permit. Nobody may unmask.

import { randomBytes } from "node:crypto";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { runCustody } from "../../support/command-line.ts";
import { startGateway, type TestGateway } from "../../support/gateway.ts";
import { startOidcProvider } from "../../support/oidc-provider.ts";
import { startPostgres, type TestPostgres } from "../../support/postgres-server.ts";
import { providerConfiguration } from "../../support/provider-configuration.ts";
import { type Canaries, makeCanaries } from "./canaries.ts";

export const DATABASE = "shop";
/** In LATIN1; its customers have an email. */
export const LATIN = "latin";

/**
 * `wide` may do everything with data and schemas; `orders` may select from public.orders, nothing else. `feeder`
 * may replicate the database and read it, `backup` all of the server: both at the target `feed`, and neither past
 * masks.
 */
export type Attacker = "wide" | "orders" | "feeder" | "backup";

export interface AttackStage extends AsyncDisposable {
  readonly server: TestPostgres;
  readonly gateway: TestGateway;
  readonly canaries: Canaries;
  /** What the attacker signs in with. */
  readonly handles: Readonly<Record<Attacker, string>>;
  /** Runs SQL beside the gateway, as the database's superuser. */
  outside(sql: string): Promise<Record<string, unknown>[]>;
  /** A database administrator approves. */
  approve(request: string): Promise<void>;
}

/** `schema.table.column`, class */
export const CLASSES: readonly (readonly [string, string])[] = [
  ["public.customers.email", "pii.email"],
  ["public.customers.phone", "pii.phone"],
  ["public.customers.ssn", "pii.ssn"],
  ["public.customers.profile", "pii.profile"],
  ["public.customers.tags", "pii.tags"],
  ["public.customers.code", "secret.code"],
  ["public.customers.salary", "pii.salary"],
  ["public.measured.mail", "pii.email"],
  ["public.Customers.email", "pii.email"],
  ["public.visits.visitor", "pii.visitor"],
  ["public.people.secret", "secret.people"],
  ["public.holders.contact", "pii.contact"],
  ["public.pairs.token", "secret.token"],
  ["public.uses.device", "pii.device"],
  ["public.lapsed.mail", "pii.email"],
  ["public.lowered.mail", "pii.email"],
  ["public.kids.token", "secret.token"],
  ["public.bands.band", "pii.band"],
  ["public.coupled.later", "pii.later"],
  ["public.feed_people.email", "pii.email"],
  ["public.feed_parts_low.what", "pii.what"],
];

/** Slots, streams of what is not committed yet, and of what is prepared. */
const REPLICATED = {
  wal_level: "logical",
  logical_decoding_work_mem: "64kB",
  max_prepared_transactions: "10",
};

const POLICIES = `
@id("attackers-do-everything")
permit (principal, action in [SQL::Action::"data", SQL::Action::"schema"], resource);
@id("attackers-connect")
permit (principal, action == Custody::Action::"connect", resource);
@id("anybody-delegates")
permit (principal, action == Custody::Action::"delegate", resource);
@id("dbas-approve")
permit (principal in Custody::Group::"corp/dba", action == Custody::Action::"approve", resource);
@id("attackers-replicate")
permit (principal, action == SQL::Action::"replicate", resource in Custody::Target::"feed");
@id("one-table-is-out-of-reach")
forbid (principal, action, resource is SQL::Table)
when { resource.path == "shop/public/forbidden" };
@id("some-parts-are-out-of-reach")
forbid (principal, action, resource is SQL::Table) when {
  ["shop/public/ledger_closed", "shop/public/notes_secret"].contains(resource.path)
};
@id("deletes-wait")
@approvers("corp/dba")
@quorum("1")
@approval_ttl("15m")
forbid (principal, action == SQL::Action::"delete", resource == SQL::Table::"shop/shop/public/held")
unless { context.approved };
`;

export async function openAttackStage(): Promise<AttackStage> {
  await using parts = new AsyncDisposableStack();
  const folder = mkdtempSync(join(tmpdir(), "custody-attack-"));
  parts.defer(() => rmSync(folder, { recursive: true, force: true }));
  const server = parts.use(
    await startPostgres({ databases: [DATABASE, "vault"], settings: REPLICATED }),
  );
  const provider = parts.use(
    await startOidcProvider({
      accounts: [
        { name: "engineer", groups: ["engineers"] },
        { name: "dba", groups: ["dba"] },
      ],
    }),
  );
  const canaries = makeCanaries();
  const adminPassword = randomBytes(24).toString("base64url");
  await seed(server, canaries, adminPassword);
  await seedLatin(server, canaries);
  const file = (name: string, text: string) => {
    const path = join(folder, name);
    writeFileSync(path, text, { mode: 0o600 });
    return path;
  };
  const passwordFile = file("admin", adminPassword);
  const gateway = parts.use(
    await startGateway({
      folder: join(folder, "gateway"),
      policies: {
        "agents.cedar": "",
        "guards.cedar": "",
        "people.cedar": "",
        "operators.cedar": "",
        "attack.cedar": POLICIES,
      },
      configuration: `
${providerConfiguration(provider, file("provider-ca.pem", provider.ca))}people:
  Erin Engineer: [corp/engineer]
  Dana Dba: [corp/dba]
targets:
  shop:
    postgres:
      host: localhost
      port: ${server.port}
      tls: { caFile: ${file("database-ca.pem", server.ca ?? "")} }
      databases: [${DATABASE}, ${LATIN}]
      accounts:
        app:
          credential:
            session-role:
              profile: attacked
              admin: { user: custody_admin, password: "file:${passwordFile}", database: ${DATABASE} }
    classify:
${CLASSES.map(([column, name]) => `      - { column: ${column}, class: ${name} }`).join("\n")}
    tags: { env: test }
  feed:
    postgres:
      host: localhost
      port: ${server.port}
      tls: { caFile: ${file("feed-ca.pem", server.ca ?? "")} }
      databases: [${DATABASE}]
      catalogue: { user: feeder, password: "file:${passwordFile}", database: ${DATABASE} }
      accounts:
        app: { credential: { fixed-role: { user: feeder, password: "file:${passwordFile}" } } }
    classify:
${CLASSES.map(([column, name]) => `      - { column: ${column}, class: ${name} }`).join("\n")}
    tags: { env: test }
`,
    }),
  );
  const custody = personOf(folder, gateway);
  const engineer = await custody.signIn("engineer", await provider.idToken("engineer"));
  const dba = await custody.signIn("dba", await provider.idToken("dba"));
  const handles = {
    wide: await delegate(engineer, "wide", "shop", "sql:data,sql:schema", "*"),
    orders: await delegate(engineer, "orders", "shop", "sql:select", `${DATABASE}/public/orders`),
    feeder: await delegate(
      engineer,
      "feeder",
      "feed",
      "sql:replicate,sql:data",
      `${DATABASE},${DATABASE}/*`,
    ),
    backup: await delegate(engineer, "backup", "feed", "sql:replicate,sql:data", "*"),
  };
  const all = parts.move();
  return {
    server,
    gateway,
    canaries,
    handles,
    outside: (sql) => server.query(DATABASE, sql),
    async approve(request) {
      await dba(["approve", request, "--reason", "an attack is tried"]);
    },
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  };
}

/** Tables, functions and values, as the superuser. */
export async function seed(
  server: TestPostgres,
  canaries: Canaries,
  password: string,
): Promise<void> {
  let sql = readFileSync(new URL("schema.sql", import.meta.url), "utf8");
  sql = sql.replaceAll(":admin_password", `'${password}'`);
  for (const [name, value] of canaries.values)
    sql = sql.replaceAll(`:canary_${name}`, typeof value === "number" ? `${value}` : `'${value}'`);
  await server.query(DATABASE, sql);
}

async function seedLatin(server: TestPostgres, canaries: Canaries): Promise<void> {
  const encoding = "template template0 encoding 'LATIN1' locale 'C'";
  await server.query("postgres", `create database ${LATIN} ${encoding}`);
  await server.query(
    LATIN,
    `create table customers (id int, email text);
     insert into customers values (1, '${canaries.values.get("email")}');
     grant connect on database ${LATIN} to attacked; grant select on customers to attacked`,
  );
}

type Custody = (args: readonly string[]) => Promise<unknown>;

function personOf(folder: string, gateway: TestGateway) {
  return {
    /** The command line in a home of their own. */
    async signIn(name: string, idToken: string): Promise<Custody> {
      const home = join(folder, name);
      mkdirSync(home, { mode: 0o700 });
      const tokenFile = join(home, "token");
      writeFileSync(tokenFile, idToken, { mode: 0o600 });
      const custody: Custody = async (args) => {
        const result = await runCustody([...args, "--json"], { home });
        if (result.exitCode !== 0)
          throw new Error(`custody ${args[0]}: ${result.stdout}${result.stderr}`);
        return result.json;
      };
      await custody([
        ...["login", gateway.url, "--ca-fingerprint", gateway.fingerprint],
        ...["--token-file", tokenFile],
      ]);
      return custody;
    },
  };
}

async function delegate(
  custody: Custody,
  actor: string,
  target: string,
  actions: string,
  resources: string,
): Promise<string> {
  const issued = await custody([
    ...["delegate", "--actor", actor, "--target", target, "--account", "app"],
    ...["--actions", actions, "--resources", resources, "--ttl", "1h", "--handle"],
  ]);
  return String((issued as { access_token: string }).access_token);
}
