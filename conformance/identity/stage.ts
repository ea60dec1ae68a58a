// What the cases are played on: the real gateway, the real oidc-provider, an issuer that lies, and people
// with homes of their own.

import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { GRANT_TYPE_TOKEN_EXCHANGE } from "@custody/contract/oauth.ts";
import { Agent, fetch } from "undici";
import { CUSTODY, runCustody, userEnvironment } from "../support/command-line.ts";
import { startGateway, type TestGateway } from "../support/gateway.ts";
import { startOidcProvider, type TestOidcProvider } from "../support/oidc-provider.ts";
import { startPostgres } from "../support/postgres-server.ts";
import { type ClusterApi, startClusterApi } from "./cluster-api.ts";
import { type LyingIssuer, startLyingIssuer } from "./lying-issuer.ts";

/** The target's one database. */
export const DATABASE = "shop";

const SEED = `
create table items (id int primary key);
insert into items values (1), (2);
create role shop_app nologin;
grant connect on database ${DATABASE} to shop_app;
grant usage on schema public to shop_app;
grant select, delete on items to shop_app;
create role custody_admin login createrole password :password;
grant shop_app to custody_admin with admin option;
grant pg_signal_backend to custody_admin;
`;

const POLICIES = `
@id("engineers-connect")
permit (principal in Custody::Group::"corp/engineers", action == Custody::Action::"connect", resource);
@id("engineers-read")
permit (principal in Custody::Group::"corp/engineers", action == SQL::Action::"select", resource);
@id("engineers-delete")
permit (principal in Custody::Group::"corp/engineers", action == SQL::Action::"delete", resource);
@id("deletes-need-two")
@approvers("corp/dba")
@quorum("2")
forbid (principal, action == SQL::Action::"delete", resource)
unless { context.approved };
`;

export interface Stage extends AsyncDisposable {
  readonly folder: string;
  readonly gateway: TestGateway;
  readonly corp: TestOidcProvider;
  readonly liar: LyingIssuer;
  /** PEM file of the liar's CA. */
  readonly liarCa: string;
  readonly cluster: ClusterApi;
  readonly agent: Agent;
  /** A form or a body posted to the gateway. */
  post(
    path: string,
    body: Record<string, string> | string,
    type?: string,
  ): Promise<{ readonly status: number; readonly body: Record<string, unknown> }>;
  /** A provider's token at /token. */
  exchange(
    token: string,
    more?: Record<string, string>,
  ): Promise<{ readonly status: number; readonly body: Record<string, unknown> }>;
  get(path: string, token: string): Promise<number>;
  whoami(token: string): Promise<unknown>;
  home(name: string): string;
  /** $BROWSER for a program of this folder, signed in as the account. */
  browser(program: string, account: string): Record<string, string>;
}

export async function openStage(): Promise<Stage> {
  await using parts = new AsyncDisposableStack();
  const folder = mkdtempSync(join(tmpdir(), "custody-identity-"));
  parts.defer(() => rmSync(folder, { recursive: true, force: true }));
  const corp = parts.use(
    await startOidcProvider({
      accounts: [
        { name: "engineer", groups: ["engineers"] },
        { name: "dba", groups: ["dba"] },
        { name: "dba-again", groups: ["dba"] },
        { name: "carol", groups: ["dba"] },
      ],
    }),
  );
  const liar = parts.use(await startLyingIssuer());
  const cluster = parts.use(await startClusterApi());
  const file = (name: string, text: string) => {
    const path = join(folder, name);
    writeFileSync(path, text, { mode: 0o600 });
    return path;
  };
  const database = parts.use(await startPostgres({ databases: [DATABASE] }));
  const password = randomBytes(24).toString("base64url");
  await database.query(DATABASE, SEED.replace(":password", `'${password}'`));
  const databaseCa = file("database-ca.pem", database.ca ?? "");
  const passwordFile = file("admin", password);
  const corpCa = file("corp-ca.pem", corp.ca);
  const liarCa = file("liar-ca.pem", liar.ca);
  const clusterCa = file("cluster-ca.pem", cluster.ca);
  const clusterToken = file("cluster-token", cluster.ownToken);
  const gateway = parts.use(
    await startGateway({
      folder: join(folder, "gateway"),
      policies: { "guards.cedar": POLICIES },
      configuration: `${configuration(corp, liar, corpCa, liarCa)}
  pods:
    kubernetes:
      server: ${cluster.server}
      caFile: ${JSON.stringify(clusterCa)}
      token: ${JSON.stringify(`file:${clusterToken}`)}
      audience: custody
      serviceAccounts: [ci/deployer]
people:
  Ann: [corp/engineer]
  Bob: [corp/dba, corp/dba-again]
  Carol: [corp/carol]
targets:
  shop:
    postgres:
      host: localhost
      port: ${database.port}
      tls: { caFile: ${JSON.stringify(databaseCa)} }
      databases: [${DATABASE}]
      accounts:
        app:
          credential:
            session-role:
              profile: shop_app
              admin: { user: custody_admin, password: ${JSON.stringify(`file:${passwordFile}`)}, database: ${DATABASE} }
`,
    }),
  );
  corp.backchannelTo(
    `${gateway.url}/oidc/corp/backchannel-logout`,
    readFileSync(gateway.caFile, "utf8"),
  );
  const agent = new Agent({ connect: { ca: readFileSync(gateway.caFile, "utf8") } });
  parts.defer(() => agent.destroy());
  const post: Stage["post"] = async (path, body, type = "application/x-www-form-urlencoded") => {
    const answer = await fetch(`${gateway.url}${path}`, {
      method: "POST",
      dispatcher: agent,
      headers: { "content-type": type },
      body: typeof body === "string" ? body : new URLSearchParams(body).toString(),
    });
    const text = await answer.text();
    return { status: answer.status, body: text === "" ? {} : JSON.parse(text) };
  };
  const all = parts.move();
  return {
    folder,
    gateway,
    corp,
    liar,
    liarCa,
    cluster,
    agent,
    post,
    exchange: (token, more = {}) =>
      post("/token", {
        grant_type: GRANT_TYPE_TOKEN_EXCHANGE,
        subject_token: token,
        subject_token_type: "urn:ietf:params:oauth:token-type:id_token",
        ...more,
      }),
    async get(path, token) {
      const headers = { authorization: `Bearer ${token}` };
      const answer = await fetch(`${gateway.url}${path}`, { dispatcher: agent, headers });
      await answer.arrayBuffer();
      return answer.status;
    },
    async whoami(token) {
      const headers = { authorization: `Bearer ${token}` };
      const answer = await fetch(`${gateway.url}/v1/whoami`, { dispatcher: agent, headers });
      return await answer.json();
    },
    home(name) {
      const home = join(folder, `home-${name}`);
      mkdirSync(home, { recursive: true, mode: 0o700 });
      return home;
    },
    browser(program, account) {
      const path = join(folder, `${program}.sh`);
      const script = join(import.meta.dirname, `${program}.ts`);
      writeFileSync(path, `#!/bin/sh\nexec "${process.execPath}" "${script}" "$1"\n`);
      chmodSync(path, 0o700);
      return {
        BROWSER: path,
        CUSTODY_TEST_ACCOUNT: account,
        CUSTODY_TEST_PASSWORD: corp.password,
        CUSTODY_TEST_CA: corpCa,
        CUSTODY_TEST_PROFILE: join(folder, "chromium"),
      };
    },
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  };
}

function configuration(
  corp: TestOidcProvider,
  liar: LyingIssuer,
  corpCa: string,
  liarCa: string,
): string {
  return `
limits: { apiRequestsPerMinute: 60000 }
providers:
  corp:
    oidc:
      issuer: ${corp.issuer}
      audience: ${corp.clientId}
      caFile: ${JSON.stringify(corpCa)}
      kind: users
      username: preferred_username
      groups: groups
      algorithms: [ES256]
      scopes: [openid, profile, groups, offline_access]
  liar:
    oidc: { issuer: ${liar.issuer("users")}, audience: custody, caFile: ${JSON.stringify(liarCa)}, kind: users, username: name, groups: groups, scopes: [openid], deviceFlow: false }
  gh:
    oidc:
      preset: github
      issuer: ${liar.issuer("gh")}
      audience: custody
      caFile: ${JSON.stringify(liarCa)}
      claims: { repository_id: "123", repository_owner_id: "77", environment: [prod, staging] }
  gl:
    oidc: { preset: gitlab, issuer: ${liar.issuer("gl")}, audience: custody, caFile: ${JSON.stringify(liarCa)}, claims: { project_id: "5", namespace_id: "6" } }
  cluster:
    oidc: { preset: kubernetes, issuer: ${liar.issuer("k8s")}, audience: custody, caFile: ${JSON.stringify(liarCa)}, claims: { kubernetes.io/namespace: ci, kubernetes.io/serviceaccount/name: deployer } }
  mesh:
    oidc: { preset: spiffe, trustDomain: example.org, keysUrl: ${liar.base}/bundle, audience: custody, caFile: ${JSON.stringify(liarCa)} }
`;
}

/** `custody` while the test does something; its standard error so far is given to `meanwhile`. */
export async function custodyWhile(
  args: readonly string[],
  home: string,
  env: Readonly<Record<string, string>>,
  meanwhile: (stderr: string) => Promise<boolean>,
): Promise<{ readonly code: number | null; readonly stdout: string; readonly stderr: string }> {
  const child = spawn(process.execPath, [CUSTODY, ...args], {
    env: userEnvironment(home, env),
    cwd: home,
    stdio: ["ignore", "pipe", "pipe"],
    timeout: 60_000,
  });
  let stdout = "";
  let stderr = "";
  let done = false;
  let running: Promise<unknown> = Promise.resolve();
  child.stdout.on("data", (chunk) => {
    stdout += chunk;
  });
  child.stderr.on("data", (chunk) => {
    stderr += chunk;
    running = running.then(async () => {
      if (!done) done = await meanwhile(stderr);
    });
  });
  const code = await new Promise<number | null>((resolve) => child.on("close", resolve));
  await running;
  return { code, stdout, stderr };
}

/** What an OAuth error says, which may hold no quotation mark (RFC 6749 section 5.2), with them again. */
export function described(body: Record<string, unknown>): string {
  return String(body.error_description).replaceAll("'", '"');
}

/** JSON of a command that has to work. */
export async function succeed(
  args: readonly string[],
  home: string,
  env: Readonly<Record<string, string>> = {},
): Promise<Record<string, unknown>> {
  const done = await runCustody([...args, "--json"], { home, env });
  if (done.exitCode !== 0) throw new Error(`custody ${args[0]}: ${done.stdout}${done.stderr}`);
  return Object(done.json);
}
