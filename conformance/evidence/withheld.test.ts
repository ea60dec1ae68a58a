// One session, three readers, a real PostgreSQL and the real commands: who unmasked what they selected, who may
// replay it and unmask that, and who may replay it only.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import pg from "pg";
import { type CommandResult, runCustody } from "../support/command-line.ts";
import { startGateway, type TestGateway } from "../support/gateway.ts";
import { startOidcProvider } from "../support/oidc-provider.ts";
import { startPostgres } from "../support/postgres-server.ts";
import { providerConfiguration } from "../support/provider-configuration.ts";

const DATABASE = "shop";
const EMAIL = "ada.lovelace@example.com";
const POLICIES = `
@id("data") permit (principal, action in SQL::Action::"data", resource);
@id("connect") permit (principal, action == Custody::Action::"connect", resource);
@id("delegate") permit (principal, action == Custody::Action::"delegate", resource);
@id("replay") permit (principal, action == Custody::Action::"replay", resource);
@id("lists-all-sessions") permit (principal, action == Custody::Action::"administer", resource);
@id("support-sees-addresses")
permit (principal in Custody::Group::"corp/support", action == Custody::Action::"unmask",
  resource == Custody::Class::"pii.email");
@id("so-do-their-agents")
permit (principal is Custody::Agent, action == Custody::Action::"unmask",
  resource == Custody::Class::"pii.email");
`;
const PEOPLE = { agnes: ["support"], seymour: ["support"], audrey: ["auditors"] };

type Run = (...args: string[]) => Promise<CommandResult>;

async function openStage(parts: AsyncDisposableStack) {
  const folder = mkdtempSync(join(tmpdir(), "custody-withheld-"));
  parts.defer(() => rmSync(folder, { recursive: true, force: true }));
  const server = parts.use(await startPostgres({ databases: [DATABASE] }));
  const accounts = Object.entries(PEOPLE).map(([name, groups]) => ({ name, groups }));
  const provider = parts.use(await startOidcProvider({ accounts }));
  const password = randomBytes(24).toString("base64url");
  await server.query(
    DATABASE,
    `create table customers (id int primary key, email text);
     insert into customers values (1, '${EMAIL}');
     create role reading nologin;
     grant select on customers to reading;
     create role custody_admin login createrole password '${password}';
     grant reading to custody_admin with admin option;
     grant pg_signal_backend to custody_admin`,
  );
  const file = (name: string, text: string): string => {
    const path = join(folder, name);
    writeFileSync(path, text, { mode: 0o600 });
    return path;
  };
  const gateway = parts.use(
    await startGateway({
      folder: join(folder, "gateway"),
      policies: {
        ...{ "agents.cedar": "", "guards.cedar": "", "people.cedar": "", "operators.cedar": "" },
        "test.cedar": POLICIES,
      },
      configuration: `
${providerConfiguration(provider, file("provider-ca.pem", provider.ca))}people: {}
targets:
  shop:
    postgres:
      host: localhost
      port: ${server.port}
      tls: { caFile: ${file("database-ca.pem", server.ca ?? "")} }
      databases: [${DATABASE}]
      accounts:
        app:
          credential:
            session-role:
              profile: reading
              admin: { user: custody_admin, password: "file:${file("admin", password)}", database: ${DATABASE} }
    classify:
      - { column: public.customers.email, class: pii.email }
`,
    }),
  );
  const signIn = async (name: string): Promise<Run> => {
    const home = join(folder, name);
    mkdirSync(home, { mode: 0o700 });
    const token = join(home, "token");
    writeFileSync(token, await provider.idToken(name), { mode: 0o600 });
    const run: Run = (...args) => runCustody([...args, "--json"], { home });
    const login = ["login", gateway.url, "--ca-fingerprint", gateway.fingerprint];
    const signedIn = await run(...login, "--token-file", token);
    assert.equal(signedIn.exitCode, 0, signedIn.stderr);
    return run;
  };
  return { folder, gateway, signIn };
}

/** As an agent of theirs that may see addresses. */
async function selectEmail(gateway: TestGateway, run: Run): Promise<string> {
  const issued = await run(
    ...["delegate", "--actor", "helper", "--target", "shop", "--account", "app"],
    ...["--actions", "sql:data", "--resources", "*", "--unmask", "pii.email", "--ttl", "1h"],
    "--handle",
  );
  assert.equal(issued.exitCode, 0, issued.stderr);
  const client = new pg.Client({
    ...{ host: "127.0.0.1", port: gateway.postgres.port, database: DATABASE, user: "app~shop" },
    password: String((issued.json as { access_token: string }).access_token),
    ssl: { ca: readFileSync(gateway.caFile, "utf8"), servername: "localhost" },
  });
  await client.connect();
  try {
    await client.query("select 'nothing of anybody' as word");
    const { rows } = await client.query("select email from customers");
    return String(rows[0]?.email);
  } finally {
    await client.end();
  }
}

/** Once the session's end is in it. */
async function wholeReplay(run: Run, id: string): Promise<CommandResult> {
  for (const end = Date.now() + 30_000; ; await delay(200)) {
    const result = await run("replay", id);
    assert.equal(result.exitCode, 0, result.stderr);
    if (result.stdout.includes('"kind":"end"')) return result;
    assert.ok(Date.now() < end, "the session does not end");
  }
}

test("an answer that shows a class is replayed, searched and taken away by who may unmask it", async () => {
  await using parts = new AsyncDisposableStack();
  const { folder, gateway, signIn } = await openStage(parts);
  const agnes = await signIn("agnes");
  const seymour = await signIn("seymour");
  const audrey = await signIn("audrey");
  const shown = await selectEmail(gateway, agnes);
  // An agent that no policy lets unmask sees a mask: then there is nothing to withhold, and nothing to test.
  assert.equal(shown, EMAIL);
  const listed = await agnes("sessions", "--target", "shop");
  const { sessions } = listed.json as { sessions: { id: string }[] };
  const id = sessions[0]?.id ?? "";
  const hidden = Buffer.from(EMAIL).toString("base64");
  const answers = (result: CommandResult): string =>
    result.stdout
      .split("\n")
      .filter((line) => line.includes('"response"'))
      .map((line) => Buffer.from(JSON.parse(line).bytes, "base64").toString("latin1"))
      .join();

  const reviewed = await wholeReplay(seymour, id);
  assert.match(answers(reviewed), new RegExp(EMAIL));
  for (const from of [[], ["--from", "0.001"]]) {
    const audited = await audrey("replay", id, ...from);
    assert.equal(audited.exitCode, 0, audited.stderr);
    assert.ok(!answers(audited).includes("example.com"), "the answer is not given");
    assert.ok(!audited.stdout.includes(hidden.slice(0, 12)));
    assert.match(audited.stdout, /"type":"withheld","data":\{"classes":\["pii.email"\]/);
  }
  const whole = await audrey("replay", id);
  assert.match(answers(whole), /nothing of anybody/, "other answers are");

  for (const [reader, count] of [
    [seymour, 1],
    [audrey, 0],
  ] as const) {
    const found = await reader("sessions", "--text", EMAIL);
    assert.equal((found.json as { sessions: unknown[] }).sessions.length, count);
  }
  const exported = await audrey("evidence", "export", "--session", id, "--out", join(folder, "b1"));
  assert.equal(exported.exitCode, 0, exported.stderr);
  const manifest = readFileSync(join(folder, "b1", "manifest.json"), "utf8");
  assert.match(manifest, /not unmask what it shows/);
  // The export had the log published.
  const touched = await audrey("sessions", "--class", "pii.email");
  assert.equal(
    (touched.json as { sessions: unknown[] }).sessions.length,
    1,
    "what was shown is found",
  );
});
