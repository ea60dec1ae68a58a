// What everyday tools ask when they connect and browse, under the starter policies: each statement must end
// through Custody as it ends without. The queries are in queries/: psql 15's `\d` family, SQLAlchemy 1.4,
// Django 3.2, JDBC 42.5's metadata and Active Record 6.1 were recorded from a server's log; those of pgAdmin's
// start-up, DBeaver (after its source), DataGrip (after logs of servers it looked at) and Prisma are put together
// after what these ask for, each catalogue, column and function; pgadmin.ts brings all that pgAdmin's own
// templates browse with. Statements with parameters are prepared and described, not run. What must
// differ is listed, with its reason. Then tools and frameworks themselves, where they are installed (real-tools.ts).

import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import pg from "pg";
import { runCustody } from "../../support/command-line.ts";
import { startGateway } from "../../support/gateway.ts";
import { startOidcProvider } from "../../support/oidc-provider.ts";
import { startPostgres, type TestPostgres } from "../../support/postgres-server.ts";
import { providerConfiguration } from "../../support/provider-configuration.ts";
import { runCases } from "../cases.ts";
import type { Peers } from "../peers.ts";
import { pgadminStatements } from "./pgadmin.ts";
import { realTools } from "./real-tools.ts";

const QUERIES = new URL("queries/", import.meta.url);
const DATABASE = "test";

/** Beginnings of statements that Custody refuses and PostgreSQL does not. */
const DIFFERENT: readonly { readonly begins: string; readonly why: string }[] = [
  { begins: "SET search_path ", why: "names are resolved in a path that is pinned" },
  { begins: "SET ROLE ", why: "the account is the gateway's to choose" },
  {
    begins: 'SELECT rolname AS "Role", datname AS "Database"',
    why: "\\drds: settings hold secrets",
  },
  {
    begins: 'SELECT s.name AS "Parameter", pg_catalog.current_setting(s.name)',
    why: "\\dconfig: a setting whose name is not known could be a secret; pg_settings may be read",
  },
];

/** What statements read that Custody refuses therefore, whatever else is in them. */
const REFUSED: readonly { readonly reads: string; readonly why: string }[] = [
  { reads: "pg_catalog.pg_stats ", why: "values of columns" },
  { reads: "pg_catalog.pg_stat_activity ", why: "other sessions' statements" },
  { reads: "pg_catalog.pg_prepared_xacts ", why: "other sessions' transactions" },
  { reads: "subconninfo", why: "passwords for other servers" },
  { reads: "pg_authid ", why: "hashes of passwords" },
  { reads: "pg_catalog.pg_stat_subscription ", why: "what other servers send" },
  { reads: "pg_catalog.pg_db_role_setting ", why: "settings hold secrets" },
  { reads: "pg_catalog.pg_stat_replication ", why: "other sessions" },
  { reads: "pg_stat_reset_single_table_counters(", why: "it changes what everybody sees" },
  { reads: "pg_terminate_backend(", why: "other sessions" },
  { reads: "pg_stat_file(", why: "files of the server's" },
];

export async function runTools(words: readonly string[]) {
  await using server = await startPostgres({ databases: [DATABASE] });
  await using gateway = await openGateway(server);
  const tally = { passed: 0, failed: 0, skipped: 0 };
  const texts = new Map<string, () => ReturnType<typeof pgadminStatements>>();
  for (const file of readdirSync(QUERIES).sort())
    texts.set(file.replace(".sql", ""), () => ({
      statements: readFileSync(new URL(file, QUERIES), "utf8"),
    }));
  texts.set("pgadmin-templates", pgadminStatements);
  for (const [tool, textOf] of texts) {
    if (!isChosen(tool, words)) continue;
    const text = textOf();
    if ("why" in text) {
      tally.skipped++;
      console.log(`skipped  ${tool}: ${text.why}`);
      continue;
    }
    const statements = text.statements.split(/^-- next$/m);
    const direct = await outcomes(gateway.direct, statements);
    const through = await outcomes(gateway.through, statements);
    const wrong = statements.flatMap((statement, index) =>
      isAsItShould(statement, direct[index] ?? "", through[index] ?? "")
        ? []
        : [`${direct[index]} became ${through[index]}: ${firstLine(statement)}`],
    );
    tally[wrong.length === 0 ? "passed" : "failed"]++;
    console.log(
      `${wrong.length === 0 ? "passed  " : "FAILED  "} ${tool}: ${statements.length} statements`,
    );
    for (const sentence of wrong) console.log(`           ${sentence}`);
  }
  const clients = realTools().filter(({ name }) => isChosen(name.toLowerCase(), words));
  const real = await runCases(clients, gateway.peers);
  return {
    passed: tally.passed + real.passed,
    failed: tally.failed + real.failed,
    skipped: tally.skipped + real.skipped,
  };
}

function isChosen(tool: string, words: readonly string[]): boolean {
  return words.length === 0 || words.some((word) => tool.includes(word));
}

/** As without Custody; what Custody refuses is refused, whatever becomes of it without. */
function isAsItShould(statement: string, direct: string, through: string): boolean {
  return isRefused(statement) ? through !== "ok" : through === direct;
}

function isRefused(statement: string): boolean {
  const text = `${statement.replace(/\s+/g, " ")} `;
  return (
    DIFFERENT.some(({ begins }) => firstLine(statement).startsWith(begins)) ||
    REFUSED.some(({ reads }) => text.includes(reads))
  );
}

function firstLine(statement: string): string {
  return statement.trim().replace(/\s+/g, " ").slice(0, 160);
}

/** `ok` or the SQLSTATE of each, in one session. */
async function outcomes(config: pg.ClientConfig, statements: readonly string[]): Promise<string[]> {
  const client = new pg.Client(config);
  await client.connect();
  const ended: string[] = [];
  for (const [index, statement] of statements.entries()) {
    try {
      if (/\$\d/.test(statement)) await client.query(`PREPARE s${index} AS ${statement}`);
      else await client.query(statement);
      ended.push("ok");
    } catch (error) {
      const { code, message } = error as pg.DatabaseError;
      const custody = message.startsWith("Custody") ? ` ${message}` : "";
      ended.push(`${code}${custody}`);
      await client.query("rollback");
    }
  }
  await client.end();
  return ended;
}

async function openGateway(server: TestPostgres) {
  await using parts = new AsyncDisposableStack();
  const folder = mkdtempSync(join(tmpdir(), "custody-tools-"));
  parts.defer(() => rmSync(folder, { recursive: true, force: true }));
  const provider = parts.use(
    await startOidcProvider({ accounts: [{ name: "engineer", groups: ["engineers"] }] }),
  );
  const secret = "made for this run";
  const seed = readFileSync(new URL("../seed.sql", import.meta.url), "utf8");
  await server.query(
    DATABASE,
    seed.replaceAll(":admin_password", `'${secret}'`).replaceAll(":direct_password", `'${secret}'`),
  );
  await server.query(DATABASE, MORE);
  const file = (name: string, text: string) => {
    const path = join(folder, name);
    writeFileSync(path, text, { mode: 0o600 });
    return path;
  };
  const gateway = parts.use(
    await startGateway({
      folder: join(folder, "gateway"),
      configuration: `
${providerConfiguration(provider, file("provider-ca.pem", provider.ca))}targets:
  tools:
    postgres:
      host: localhost
      port: ${server.port}
      tls: { caFile: ${file("database-ca.pem", server.ca ?? "")} }
      databases: [${DATABASE}]
      accounts:
        app:
          credential:
            session-role:
              profile: suite
              admin: { user: custody_admin, password: "file:${file("admin", secret)}", database: ${DATABASE} }
    classify:
      - { column: public.items.raw, class: test.raw }
      - { column: public.person.email, class: pii.email }
    tags: { env: test }
# What waits for somebody who approves waits for nobody here.
limits: { holdWait: 1s, holdWaitInTransaction: 1s }
`,
    }),
  );
  const home = join(folder, "home");
  mkdirSync(home, { mode: 0o700 });
  const custody = async (args: readonly string[]) => {
    const result = await runCustody([...args, "--json"], { home });
    if (result.exitCode !== 0)
      throw new Error(`custody ${args[0]}: ${result.stdout}${result.stderr}`);
    return result.json;
  };
  const token = file("id-token", await provider.idToken("engineer"));
  await custody([
    ...["login", gateway.url, "--ca-fingerprint", gateway.fingerprint, "--token-file", token],
  ]);
  const issued = await custody([
    ...["delegate", "--actor", "tool", "--target", "tools", "--account", "app"],
    ...["--actions", "sql:data", "--resources", `${DATABASE}/*`, "--ttl", "1h", "--handle"],
  ]);
  const password = String((issued as { access_token: string }).access_token);
  const { host, port } = server;
  const all = parts.move();
  const own = { database: DATABASE, password: secret };
  return {
    peers: {
      direct: { name: "direct", host, port, user: "direct", caFile: server.caFile ?? "", ...own },
      gateway: {
        name: "gateway",
        ...gateway.postgres,
        ...own,
        user: "tools",
        password,
        caFile: gateway.caFile,
      },
      server,
      process: gateway,
      [Symbol.asyncDispose]: () => all.disposeAsync(),
    } satisfies Peers,
    direct: { ...server.connection(DATABASE), user: "direct", password: secret },
    through: {
      ...gateway.postgres,
      user: "tools",
      password,
      database: DATABASE,
      ssl: { ca: readFileSync(gateway.caFile, "utf8"), servername: "localhost" },
    },
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  };
}

/** What the recording had beside the seed: a view, an index, a comment, a function, a type, a key. */
const MORE = `
create view cheap as select id, name from items where price < 5;
create index on many (word);
comment on table items is 'things';
create function add_one(int) returns int language sql as 'select $1 + 1';
create type mood as enum ('a', 'b');
create table child (id int primary key, item int references items (id));
create table person (id int primary key, name text not null, email text not null, item int references items);
insert into person values (1, 'Ada', 'ada@example.com', 1), (2, 'Bob', 'bob@example.com', 2);
grant select on cheap to suite;
grant select, insert, update, delete on child, person to suite`;
