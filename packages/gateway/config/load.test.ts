import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";

import type { PostgresTarget } from "../target/target.ts";
import { type Config, describeProblem } from "./config.ts";
import { defaultLimits } from "./limits.ts";
import { loadConfig, parseConfig } from "./load.ts";

const directory = mkdtempSync(join(tmpdir(), "custody-config-"));
after(() => rmSync(directory, { recursive: true }));
mkdirSync(join(directory, "policies"));
writeFileSync(join(directory, "ca.pem"), "-----BEGIN CERTIFICATE-----\n");
writeFileSync(join(directory, "not-pem"), "hello\n");

const file = join(directory, "custody.yaml");

const WHOLE = `version: 1
data: ./state
hostnames: [gw.example.com]
listen:
  postgres: "[::1]:7432"
  https: gw.example.com:7443
providers:
  corp:
    oidc:
      issuer: https://id.example.com
      audience: custody
      kind: users
      groups: groups
      caFile: ca.pem
  ci:
    oidc:
      issuer: http://127.0.0.1:9000
      insecureHttp: true
      audience: custody
      kind: workloads
      claims: { repository_id: "123", environment: [prod, stage] }
people:
  Ann: [corp/ann@example.com, corp/ann-admin@example.com]
targets:
  orders:
    postgres:
      host: db.internal
      tls: { caFile: ca.pem }
      accounts:
        ro:
          credential:
            session-role:
              profile: custody_ro
              admin: { user: custody, password: "file:secrets/orders", database: shop }
        app:
          credential:
            fixed-role: { user: app, password: "exec:./give-secret app" }
    classify:
      - { column: public.customers.email, class: pii.email }
      - { column: shop.public.customers.phone, class: pii.phone }
    tags: { env: demo }
masks: { pii.email: email-domain }
limits: { holdWait: 2m, messageBytes: 16MiB, delegationDepth: 4 }
`;

describe("a whole configuration", () => {
  const loaded = parseConfig(file, WHOLE);
  assert.ok(loaded.ok, loaded.ok ? "" : loaded.problems.map(describeProblem).join("\n"));
  const { config } = loaded;

  test("paths are absolute, from the file's folder", () => {
    assert.equal(config.dataDirectory, join(directory, "state"));
    assert.equal(config.policiesDirectory, join(directory, "policies"));
    const orders = postgresOf(config, "orders");
    assert.deepEqual(orders.tls, { mode: "verify-full", caFile: join(directory, "ca.pem") });
    const [ro, app] = orders.accounts;
    assert.deepEqual(ro?.credential, {
      kind: "session-role",
      profile: "custody_ro",
      admin: {
        user: "custody",
        password: { from: "file", path: join(directory, "secrets/orders") },
        database: "shop",
      },
    });
    assert.deepEqual(app?.credential, {
      kind: "fixed-role",
      user: "app",
      password: { from: "exec", command: [join(directory, "give-secret"), "app"] },
    });
  });

  test("addresses, providers, people, classes, masks and limits are typed values", () => {
    assert.deepEqual(config.listen.postgres, { host: "::1", port: 7432 });
    assert.deepEqual(config.listen.https, { host: "gw.example.com", port: 7443 });
    assert.equal(config.listen.admin, undefined);
    assert.equal(config.providers.get("corp")?.username, "email");
    assert.equal(config.providers.get("ci")?.username, "sub");
    assert.deepEqual(config.providers.get("ci")?.claims, {
      repository_id: ["123"],
      environment: ["prod", "stage"],
    });
    assert.deepEqual(config.people.get("Ann"), [
      "corp/ann@example.com",
      "corp/ann-admin@example.com",
    ]);
    const orders = postgresOf(config, "orders");
    assert.equal(orders.port, 5432);
    assert.deepEqual(orders.searchPath, ["public"]);
    assert.equal(orders.catalogue.user, "custody");
    assert.deepEqual(orders.classify[1], {
      database: "shop",
      schema: "public",
      table: "customers",
      column: "phone",
      class: "pii.phone",
    });
    assert.equal(config.masks.get("pii.email"), "email-domain");
    assert.equal(config.limits.holdWaitMs, 120_000);
    assert.equal(config.limits.messageBytes, 16 * 1024 * 1024);
    assert.equal(config.limits.delegationDepth, 4);
    assert.equal(config.limits.holdRepeatMs, defaultLimits().holdRepeatMs);
  });
});

test("the smallest configuration has every default", () => {
  const loaded = parseConfig(file, "version: 1\n");
  assert.ok(loaded.ok);
  assert.deepEqual(loaded.config.limits, defaultLimits());
  assert.equal(loaded.config.limits.holdWaitMs, 300_000);
  assert.equal(loaded.config.limits.holdWaitInTransactionMs, 30_000);
  assert.deepEqual(loaded.config.listen.https, { host: "127.0.0.1", port: 7443 });
});

const TARGET = `version: 1
targets:
  orders:
    postgres:
      host: db
      accounts:
        ro: { credential: { fixed-role: { user: app, password: "env:P" } } }
      catalogue: { user: cat, password: "env:C" }
`;

/** What is wrong, where exactly it is found, and what the message must say. */
const WRONG: readonly (readonly [
  name: string,
  text: string,
  line: number,
  column: number,
  path: string,
  message: RegExp,
])[] = [
  ["no version", "data: x\n", 1, 1, "version", /is missing|expected 1/],
  ["another version", "version: 2\n", 1, 10, "version", /expected 1/],
  ["an empty file", "", 1, 1, "version", /expected 1/],
  ["a list", "- 1\n", 1, 1, "", /expected a group of keys/],
  ["broken YAML", "version: 1\nlisten: {\n", 3, 1, "", /flow|map|\}/i],
  ["a tab", "version: 1\nlisten:\n\tpostgres: x\n", 3, 1, "", /tab/i],
  ["a key twice", "version: 1\ndata: a\ndata: b\n", 3, 1, "", /unique/i],
  ["an unknown tag", "version: 1\ndata: !env x\n", 2, 7, "", /tag/i],
  [
    "an unknown key, nearly right",
    "version: 1\nlisten:\n  postgress: 127.0.0.1:1\n",
    3,
    3,
    "listen.postgress",
    /did you mean "postgres"/,
  ],
  [
    "an unknown key, far off",
    "version: 1\nbanana: 1\n",
    2,
    1,
    "banana",
    /known here: version, data/,
  ],
  [
    "an unknown key deep in a target",
    TARGET.replace("host: db", "host: db\n      hots: db"),
    6,
    7,
    "targets.orders.postgres.hots",
    /did you mean "host"/,
  ],
  [
    "an unknown key in a branch of a choice",
    TARGET.replace("host: db", "host: db\n      tls: { cafile: ca.pem }"),
    6,
    14,
    "targets.orders.postgres.tls.cafile",
    /did you mean "caFile"/,
  ],
  [
    "an unknown TLS mode",
    TARGET.replace("host: db", "host: db\n      tls: require"),
    6,
    12,
    "targets.orders.postgres.tls",
    /expected verify-full, insecure-plaintext or/,
  ],
  [
    "a missing host is reported at its group",
    TARGET.replace("      host: db\n", ""),
    4,
    5,
    "targets.orders.postgres.host",
    /is missing: expected text/,
  ],
  [
    "a number where text belongs",
    `${TARGET}    tags: { env: 7 }\n`,
    9,
    18,
    "targets.orders.tags.env",
    /expected text; put it in quotes/,
  ],
  [
    "a name with capitals",
    TARGET.replace("  orders:", "  Orders:"),
    3,
    3,
    "targets.Orders",
    /lower-case/,
  ],
  [
    "an address without a port",
    "version: 1\nlisten: { https: localhost }\n",
    2,
    18,
    "listen.https",
    /host:port/,
  ],
  ["a port too high", "version: 1\nlisten: { https: 'h:70000' }\n", 2, 18, "listen.https", /65535/],
  [
    "two listeners on one address",
    "version: 1\nlisten:\n  postgres: 127.0.0.1:7443\n  https: 127.0.0.1:7443\n",
    4,
    10,
    "listen.https",
    /taken by listen.postgres/,
  ],
  [
    "no folder of policies",
    "version: 1\npolicies: ./nowhere\n",
    2,
    11,
    "policies",
    /no folder .*nowhere/,
  ],
  [
    "a duration without unit",
    "version: 1\nlimits: { holdWait: 30 }\n",
    2,
    21,
    "limits.holdWait",
    /such as 30s/,
  ],
  [
    "a duration too long",
    "version: 1\nlimits: { holdWait: 9d }\n",
    2,
    21,
    "limits.holdWait",
    /between 1s and 1h/,
  ],
  [
    "a size in another unit",
    "version: 1\nlimits: { messageBytes: 64MB }\n",
    2,
    25,
    "limits.messageBytes",
    /64MiB/,
  ],
  [
    "a count that is none",
    "version: 1\nlimits: { delegationDepth: 1.5 }\n",
    2,
    28,
    "limits.delegationDepth",
    /whole number/,
  ],
  [
    "a limit misspelt",
    "version: 1\nlimits: { holdWiat: 1m }\n",
    2,
    11,
    "limits.holdWiat",
    /"holdWait"/,
  ],
  [
    "an unknown mask",
    "version: 1\nmasks: { pii.email: redacted }\n",
    2,
    21,
    "masks.pii.email",
    /did you mean "redact"/,
  ],
  [
    "a secret written out",
    TARGET.replace('"env:P"', "hunter2"),
    7,
    64,
    "targets.orders.postgres.accounts.ro.credential.fixed-role.password",
    /named, never written here: env:NAME/,
  ],
  [
    "no catalogue login",
    TARGET.replace(/ {6}catalogue.*\n/, ""),
    4,
    5,
    "targets.orders.postgres.catalogue",
    /needs a login of its own/,
  ],
  [
    "two kinds of credential",
    TARGET.replace(
      "fixed-role: {",
      'session-role: { profile: p, admin: { user: a, password: "env:A" } }, fixed-role: {',
    ),
    7,
    27,
    "targets.orders.postgres.accounts.ro.credential",
    /exactly one of/,
  ],
  [
    "no account",
    TARGET.replace(/accounts:\n.*\n/, "accounts: {}\n"),
    6,
    17,
    "targets.orders.postgres.accounts",
    /at least one account/,
  ],
  [
    "a column without its schema",
    `${TARGET}    classify: [ { column: customers.email, class: pii.email } ]\n`,
    9,
    27,
    "targets.orders.classify[0].column",
    /schema.table.column/,
  ],
  [
    "a column classified twice",
    `${TARGET}    classify:\n      - { column: a.b.c, class: pii.x }\n      - { column: a.b.c, class: pii.y }\n`,
    11,
    19,
    "targets.orders.classify[1].column",
    /classified twice/,
  ],
  [
    "a transparent target with a class",
    `${TARGET.replace("accounts:", "mode: transparent-for-tests-only\n      accounts:")}    classify: [ { column: a.b.c, class: pii.x } ]\n`,
    6,
    13,
    "targets.orders.postgres.mode",
    /cannot be transparent/,
  ],
  [
    "an issuer without TLS",
    "version: 1\nproviders:\n  corp:\n    oidc: { issuer: 'http://id', audience: a, kind: users }\n",
    4,
    21,
    "providers.corp.oidc.issuer",
    /insecureHttp: true/,
  ],
  [
    "workloads without pinned claims",
    "version: 1\nproviders:\n  ci:\n    oidc: { issuer: 'https://id', audience: a, kind: workloads }\n",
    4,
    5,
    "providers.ci.oidc.claims",
    /must pin claims/,
  ],
  [
    "GitHub without the ids that stay",
    "version: 1\nproviders:\n  gh:\n    oidc: { preset: github, audience: a, claims: { repository_id: '1' } }\n",
    4,
    50,
    "providers.gh.oidc.claims",
    /must pin repository_owner_id/,
  ],
  [
    "a trust domain without its bundle",
    "version: 1\nproviders:\n  sp:\n    oidc: { preset: spiffe, audience: a, trustDomain: example.org }\n",
    4,
    5,
    "providers.sp.oidc.keysUrl",
    /bundle of the trust domain/,
  ],
  [
    "a provider of nobody",
    "version: 1\nproviders:\n  c:\n    oidc: { issuer: 'https://i', audience: a }\n",
    4,
    5,
    "providers.c.oidc.kind",
    /users or workloads/,
  ],
  [
    "an algorithm that is none",
    "version: 1\nproviders:\n  c:\n    oidc: { issuer: 'https://i', audience: a, kind: users, algorithms: [none] }\n",
    4,
    73,
    "providers.c.oidc.algorithms[0]",
    /expected one of RS256/,
  ],
  [
    "a symmetric algorithm",
    "version: 1\nproviders:\n  c:\n    oidc: { issuer: 'https://i', audience: a, kind: users, algorithms: [HS256] }\n",
    4,
    73,
    "providers.c.oidc.algorithms[0]",
    /expected one of RS256/,
  ],
  [
    "a CA file that is not there",
    "version: 1\nproviders:\n  c:\n    oidc: { issuer: 'https://i', audience: a, kind: users, caFile: gone.pem }\n",
    4,
    68,
    "providers.c.oidc.caFile",
    /gone\.pem cannot be read/,
  ],
  [
    "a SAML provider reached without TLS",
    "version: 1\nproviders:\n  c:\n    saml: { entityId: e, ssoUrl: 'http://i/sso', certificates: [ca.pem] }\n",
    4,
    34,
    "providers.c.saml.ssoUrl",
    /https:/,
  ],
  [
    "a SAML provider whose certificate is not there",
    "version: 1\nproviders:\n  c:\n    saml: { entityId: e, ssoUrl: 'https://i/sso', certificates: [gone.pem] }\n",
    4,
    66,
    "providers.c.saml.certificates[0]",
    /gone\.pem cannot be read/,
  ],
  [
    "a provider of two kinds",
    "version: 1\nproviders:\n  c:\n    saml: { entityId: e, ssoUrl: 'https://i/sso', certificates: [ca.pem] }\n    oidc: { issuer: 'https://i', audience: a, kind: users }\n",
    4,
    5,
    "providers.c",
    /exactly one of oidc, saml and kubernetes/,
  ],
  [
    "a key file that is no PEM",
    "version: 1\ntls: { cert: ca.pem, key: not-pem }\n",
    2,
    27,
    "tls.key",
    /not a PEM/,
  ],
  [
    "a person of a provider that is not there",
    "version: 1\npeople: { Ann: [corp/ann] }\n",
    2,
    17,
    "people.Ann[0]",
    /provider of users/,
  ],
  [
    "an account of two people",
    "version: 1\nproviders:\n  c:\n    oidc: { issuer: 'https://i', audience: a, kind: users }\npeople:\n  Ann: [c/x]\n  Bob: [c/x]\n",
    7,
    9,
    "people.Bob[0]",
    /already Ann/,
  ],
];

describe("each error has its place and says what was expected", () => {
  for (const [name, text, line, column, path, message] of WRONG)
    test(name, () => {
      const loaded = parseConfig(file, text);
      assert.equal(loaded.ok, false);
      if (loaded.ok) return;
      const [first] = loaded.problems;
      assert.ok(first);
      assert.match(first.message, message);
      assert.deepEqual(
        { line: first.line, column: first.column, path: first.path },
        { line, column, path },
      );
      assert.equal(first.file, file);
    });
});

test("a secret that was pasted in is not repeated in the message", () => {
  const loaded = parseConfig(file, TARGET.replace('"env:P"', "hunter2"));
  assert.ok(!loaded.ok);
  assert.ok(!JSON.stringify(loaded.problems).includes("hunter2"));
});

test("psql is sent only to a provider of people that takes access tokens", () => {
  const corp =
    "providers:\n  corp:\n    oidc: { issuer: https://id.example.com, audience: a, kind: ";
  for (const [more, message] of [
    ["users }", /takes ID tokens/],
    ["workloads, token: access_token, claims: { a: b } }", /no OpenID Connect provider of people/],
    ["users, token: access_token }", undefined],
  ] as const) {
    const text = `version: 1\n${corp}${more}\npostgres: { signIn: [oauth], oauthProvider: corp }\n`;
    const loaded = parseConfig(file, text);
    if (message === undefined) {
      assert.ok(loaded.ok, JSON.stringify(loaded));
      assert.deepEqual(loaded.config.postgres, { signIn: ["oauth"], oauthProvider: "corp" });
      continue;
    }
    assert.ok(!loaded.ok);
    assert.equal(loaded.problems[0]?.path, "postgres.oauthProvider");
    assert.match(loaded.problems[0]?.message ?? "", message);
  }
});

test("all problems are reported at once, in the order of the file", () => {
  const loaded = parseConfig(file, "version: 1\nbanana: 1\nlimits: { holdWait: 1 }\nmasks: 3\n");
  assert.ok(!loaded.ok);
  assert.deepEqual(
    loaded.problems.map((problem) => problem.line),
    [2, 3, 4],
  );
});

test("aliases that expand without end are refused", () => {
  let text = 'version: 1\na0: &a0 ["x","x","x","x","x","x","x","x","x"]\n';
  for (let level = 1; level < 9; level++)
    text += `a${level}: &a${level} [${Array(9)
      .fill(`*a${level - 1}`)
      .join(",")}]\n`;
  const loaded = parseConfig(file, text);
  assert.ok(!loaded.ok);
  assert.match(loaded.problems[0]?.message ?? "", /aliases/);
});

test("a file that is not there says so", () => {
  const loaded = loadConfig(join(directory, "gone.yaml"));
  assert.ok(!loaded.ok);
  assert.match(loaded.problems[0]?.message ?? "", /no such file; `custody init`/);
});

function postgresOf(config: Config, name: string): PostgresTarget {
  const target = config.targets.get(name);
  assert.ok(target?.protocol === "postgres");
  return target;
}
