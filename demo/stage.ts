// Everything the story needs, started and put away again: a PostgreSQL with the shop in it, an identity
// provider, the gateway in front of both, a home folder for everybody who takes part.

import { generateKeyPairSync, randomBytes, randomUUID } from "node:crypto";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openSshKeys } from "@custody/gateway/credential/ssh-keys.ts";
import { publicLine } from "@custody/gateway/proxy/ssh/certificates.ts";
import { SignJWT } from "jose";
import { startGateway, type TestGateway } from "../conformance/support/gateway.ts";
import {
  type LightApiServer,
  startLightApiServer,
} from "../conformance/support/light-api-server.ts";
import { startOidcProvider, type TestOidcProvider } from "../conformance/support/oidc-provider.ts";
import { startPostgres, type TestPostgres } from "../conformance/support/postgres-server.ts";
import { providerConfiguration } from "../conformance/support/provider-configuration.ts";
import {
  hasSshServer,
  startSshServer,
  type TestSshServer,
} from "../conformance/support/ssh-server.ts";

export interface Stage extends AsyncDisposable {
  readonly folder: string;
  readonly database: TestPostgres;
  readonly provider: TestOidcProvider;
  readonly gateway: TestGateway;
  /** undefined: this machine has no sshd. */
  readonly host: TestSshServer | undefined;
  readonly cluster: DemoCluster;
  /** A token as the CI system gives one to each job. */
  ciToken(): Promise<string>;
  /** A secret the gateway uses and no agent may ever see, by what it is. */
  readonly secrets: ReadonlyMap<string, string>;
  /** The home folder of a person or an agent; made when first asked for. */
  home(name: string): string;
}

export const DATABASE = "shop";
export const TARGET = "orders";
export const HOST = "web-1";
export const CLUSTER = "prod";
export const POD = "web-1";
export const SECRET_NAME = "database";
export const OLD_OBJECT = "prices-2019";

export interface DemoCluster extends LightApiServer {
  /** What is in its Secret. */
  readonly secretValue: string;
}

const ACCOUNTS = [
  { name: "engineer", groups: ["engineers"] },
  { name: "dba1", groups: ["dba"] },
  { name: "dba2", groups: ["dba"] },
  { name: "operator", groups: ["operators"] },
];

/** Starts it all; `progress` hears what is up. Whatever was started is stopped when one part fails. */
export async function openStage(progress: (label: string, text: string) => void): Promise<Stage> {
  await using parts = new AsyncDisposableStack();
  const folder = mkdtempSync(join(tmpdir(), "custody-demo-"));
  parts.defer(() => rmSync(folder, { recursive: true, force: true }));
  const starting = [
    startPostgres({ databases: [DATABASE] }).then((server) => parts.use(server)),
    startOidcProvider({ accounts: ACCOUNTS }).then((server) => parts.use(server)),
  ] as const;
  // When one fails the other is waited for all the same, so that it can be stopped.
  await Promise.allSettled(starting);
  const [database, provider] = await Promise.all(starting);
  const ci = makeCi();
  const adminPassword = randomBytes(24).toString("base64url");
  const seed = readFileSync(new URL("shop.sql", import.meta.url), "utf8");
  await database.query(DATABASE, seed.replaceAll(":admin_password", `'${adminPassword}'`));
  progress("PostgreSQL", `${database.version} with a small shop, on port ${database.port}`);
  progress("identity provider", `${provider.issuer}: engineer (engineers), dba1 and dba2 (dba)`);
  const keysOf = join(folder, "authority");
  const host = hasSshServer() ? parts.use(await startHost(folder, keysOf)) : undefined;
  if (host !== undefined)
    progress("a host", `sshd on port ${host.port}, which trusts the gateway's certificates alone`);
  const cluster = parts.use(await startCluster());
  progress("a cluster", `${cluster.server}, a light API server: no pod of it runs`);
  const gateway = parts.use(
    await startGateway({
      folder: join(folder, "gateway"),
      kubernetes: true,
      ...(host === undefined ? {} : { ssh: true, sshKeysOf: keysOf }),
      policies: { "ci.cedar": CI_POLICY },
      configuration: configuration(folder, {
        database,
        provider,
        ci,
        adminPassword,
        host,
        cluster,
      }),
    }),
  );
  const doors = [`PostgreSQL on port ${gateway.postgres.port}`];
  if (gateway.ssh !== undefined) doors.push(`SSH on port ${gateway.ssh.port}`);
  doors.push(`Kubernetes on port ${gateway.kubernetes?.port}`);
  progress("gateway", `${gateway.url}, ${doors.join(", ")}`);
  const all = parts.move();
  return {
    folder,
    database,
    provider,
    gateway,
    host,
    cluster,
    ciToken: ci.token,
    secrets: new Map([
      ["the password of the gateway's login on the database", adminPassword],
      ["the password of the database's superuser", database.password],
      ["the token of the gateway on the cluster", cluster.token],
      ["what is in the cluster's Secret", cluster.secretValue],
    ]),
    home(name) {
      const home = join(folder, "home", name);
      mkdirSync(home, { recursive: true, mode: 0o700 });
      return home;
    },
    async [Symbol.asyncDispose]() {
      await all.disposeAsync();
    },
  };
}

const CI_POLICY = `// The CI of acme/shop may work on data, on behalf of whoever delegates to it.
@id("shop-ci-works")
permit (
  principal == Custody::Workload::"ci/acme/shop",
  action in Custody::Action::"data",
  resource
);
`;

interface Ci {
  readonly keys: object;
  token(): Promise<string>;
}

/** GitHub's issuer with a key of our own: what it vouches for is in its key set, which is a file here. */
function makeCi(): Ci {
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const kid = randomUUID();
  return {
    keys: { keys: [{ ...publicKey.export({ format: "jwk" }), kid, alg: "ES256", use: "sig" }] },
    token: () =>
      new SignJWT({
        repository: "acme/shop",
        repository_id: "4711",
        repository_owner: "acme",
        repository_owner_id: "42",
        ref: "refs/heads/main",
      })
        .setProtectedHeader({ alg: "ES256", typ: "JWT", kid })
        .setIssuer("https://token.actions.githubusercontent.com")
        .setAudience("custody-demo")
        .setSubject("repo:acme/shop:ref:refs/heads/main")
        .setJti(randomUUID())
        .setIssuedAt()
        .setExpirationTime("5m")
        .sign(privateKey),
  };
}

interface Parts {
  readonly database: TestPostgres;
  readonly provider: TestOidcProvider;
  readonly ci: Ci;
  readonly adminPassword: string;
  readonly host: TestSshServer | undefined;
  readonly cluster: DemoCluster;
}

async function startCluster(): Promise<DemoCluster> {
  const light = await startLightApiServer();
  const secretValue = randomBytes(18).toString("base64url");
  light.put("pods", "web-2");
  light.put("secrets", SECRET_NAME, { password: secretValue });
  light.put("configmaps", OLD_OBJECT, { euro: "1.12" });
  return { ...light, secretValue };
}

/** A host whose systemctl only says what it was asked. */
async function startHost(folder: string, keysOf: string): Promise<TestSshServer> {
  const bin = join(folder, "host-bin");
  mkdirSync(bin);
  const text = `#!/bin/sh
case $1 in
  restart) echo "restarted $2" ;;
  *) echo "$2: active (running)" ;;
esac
`;
  writeFileSync(join(bin, "systemctl"), text, { mode: 0o755 });
  return await startSshServer({
    folder: join(folder, "host"),
    userAuthority: publicLine(openSshKeys(keysOf).targetCa, "custody"),
    more: [`SetEnv SHLVL=1 PATH=${bin}:/usr/bin:/bin`],
  });
}

function hostConfiguration(host: TestSshServer): string {
  return `  ${HOST}:
    ssh:
      host: 127.0.0.1
      port: ${host.port}
      hostKeys: ["${host.hostKey}"]
      accounts:
        deploy: { user: ${host.user}, shell: bash, credential: { certificate: {} } }
    tags: { env: demo }
`;
}

function clusterConfiguration(cluster: DemoCluster, file: (name: string, text: string) => string) {
  return `  ${CLUSTER}:
    kubernetes:
      server: ${cluster.server}
      caFile: ${JSON.stringify(file("cluster-ca.pem", cluster.ca))}
      accounts:
        edit:
          credential: { token: ${JSON.stringify(`file:${file("cluster-token", cluster.token)}`)} }
          impersonate: { groups: [custody:editors] }
    tags: { env: demo }
`;
}

/** custody.yaml without its first lines; secrets and authorities are files it names. */
function configuration(
  folder: string,
  { database, provider, ci, adminPassword, host, cluster }: Parts,
): string {
  const file = (name: string, text: string) => {
    const path = join(folder, name);
    writeFileSync(path, text, { mode: 0o600 });
    return path;
  };
  const providerCa = file("provider-ca.pem", provider.ca);
  const databaseCa = file("database-ca.pem", database.ca ?? "");
  const passwordFile = file("admin-password", adminPassword);
  const ciKeys = file("ci-keys.json", JSON.stringify(ci.keys));
  return `
${providerConfiguration(provider, JSON.stringify(providerCa))}  ci:
    oidc:
      preset: github
      audience: custody-demo
      keysFile: ${JSON.stringify(ciKeys)}
      claims: { repository_id: "4711", repository_owner_id: "42" }
people:
  Erin Engineer: [corp/engineer]
  Dana First: [corp/dba1]
  Dmitri Second: [corp/dba2]
  Olga Operator: [corp/operator]
targets:
  ${TARGET}:
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
              admin:
                user: custody_admin
                password: ${JSON.stringify(`file:${passwordFile}`)}
                database: ${DATABASE}
    classify:
      - { column: public.customers.email, class: pii.email }
    tags: { env: demo }
${host === undefined ? "" : hostConfiguration(host)}${clusterConfiguration(cluster, file)}masks:
  pii.email: email-domain
`;
}
