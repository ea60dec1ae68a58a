import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { parseOptions } from "@custody/gateway/proxy/postgres/settings.ts";
import fc from "fast-check";

import { agentVariables, inheritedEnvironment, passwordLine } from "./agent-environment.ts";

describe("what a program inherits", () => {
  const left = (environment: Record<string, string>, keep: readonly string[] = []) =>
    inheritedEnvironment(environment, keep).leftOut;

  test("is without what looks like a secret by its name", () => {
    for (const name of [
      ...["GITHUB_TOKEN", "ACTIONS_ID_TOKEN_REQUEST_URL", "NPM_TOKEN", "npm_config__authToken"],
      ...["AWS_PROFILE", "AZURE_CLIENT_ID", "VAULT_ADDR", "GOOGLE_APPLICATION_CREDENTIALS"],
      ...["DB_PASSWORD", "MYSQL_PWD", "db_pass", "CLIENT_SECRET", "OPENAI_API_KEY", "SIGNING_KEY"],
      ...["SSH_AUTH_SOCK", "KUBECONFIG", "SENTRY_DSN", "BASIC_AUTH", "SESSION_COOKIE"],
      ...["CUSTODY_TOKEN", "CUSTODY_HOME", "PGPASSWORD", "PGSERVICE", "PGHOSTADDR"],
    ])
      assert.deepEqual(left({ [name]: "x" }), [name]);
  });

  test("and by its value", () => {
    for (const value of [
      "postgres://me:pass@db/shop",
      "-----BEGIN EC PRIVATE KEY-----\nMHc",
      "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJ4In0.c2ln",
      "cst_abcd_secret",
      "ghp_0123456789",
      "AKIAIOSFODNN7EXAMPLE",
    ])
      assert.deepEqual(left({ NOTE: value }), ["NOTE"], value);
  });

  test("is otherwise what it was", () => {
    const plain = {
      PATH: "/bin",
      PWD: "/home/me/token",
      OLDPWD: "/",
      HOME: "/home/me",
      LANG: "C.UTF-8",
      MONKEY: "1",
      COMPASS: "north",
      PGOPTIONS: "-c jit=off",
      PGTZ: "UTC",
      DOCS: "https://example.com/a:b@c",
    };
    const { variables, leftOut } = inheritedEnvironment(plain, []);
    assert.deepEqual({ ...variables }, plain);
    assert.deepEqual(leftOut, []);
  });

  test("keeps a secret that is named, but none that is replaced", () => {
    assert.deepEqual(left({ MY_TOKEN: "x", OTHER_TOKEN: "y" }, ["MY_TOKEN"]), ["OTHER_TOKEN"]);
    for (const name of ["CUSTODY_TOKEN", "PGPASSFILE"])
      assert.throws(() => inheritedEnvironment({}, [name]), /the agent gets its own/);
  });
});

describe("what its clients read", () => {
  const connection = (justification: string | undefined) => ({
    url: "https://gw:7443",
    token: "cst_x_y",
    keyFile: undefined,
    caFile: undefined,
    justification,
    postgres: {
      host: "gw",
      port: 7432,
      user: "app~orders",
      database: undefined,
      passwordFile: "/run/pgpass",
      caFile: undefined,
    },
  });

  test("a reason arrives as it was given, whatever is in it", () => {
    const settingsOf = (options: string | undefined) => {
      const parsed = parseOptions(options ?? "");
      assert.ok(parsed.ok);
      return new Map(parsed.settings);
    };
    fc.assert(
      fc.property(fc.string({ minLength: 1, unit: "grapheme" }), (why) => {
        const { PGOPTIONS } = agentVariables(connection(why), "-c jit=off");
        assert.deepEqual(
          settingsOf(PGOPTIONS),
          new Map([
            ["jit", "off"],
            ["custody.justification", why],
          ]),
        );
      }),
    );
    assert.equal(agentVariables(connection(undefined), undefined).PGOPTIONS, undefined);
  });

  test("without a CA of the gateway's own the system's are trusted, and verified in full", () => {
    const { PGSSLMODE, PGSSLROOTCERT, CUSTODY_CA } = agentVariables(connection("x"), undefined);
    assert.deepEqual([PGSSLMODE, PGSSLROOTCERT, CUSTODY_CA], ["verify-full", "system", undefined]);
  });

  test("an address with colons is escaped in the password file", () => {
    assert.equal(passwordLine("::1", 7432, "cst_x_y"), "\\:\\:1:7432:*:*:cst_x_y\n");
  });
});
