import assert from "node:assert/strict";
import { chmodSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";

import { openContexts } from "./contexts.ts";
import { CliError } from "./faults.ts";

const root = mkdtempSync(join(tmpdir(), "custody-contexts-"));
after(() => rmSync(root, { recursive: true }));

const context = {
  url: "https://gw:7443",
  ca: "-----BEGIN CERTIFICATE-----\n",
  token: "cst_x_y",
  delegationId: "d-abcd",
  signIn: null,
};
const mode = (path: string) => statSync(path).mode & 0o777;

test("a context is for its owner only", () => {
  const home = join(root, "modes");
  const store = openContexts({ CUSTODY_HOME: home });
  store.write("work", context);
  store.choose("work");
  const secret = store.writePrivate("pgpass-1", "x");
  assert.equal(mode(home), 0o700);
  assert.equal(mode(join(home, "contexts")), 0o700);
  for (const file of ["contexts/work.json", "contexts/work.ca.pem", "current"])
    assert.equal(mode(join(home, file)), 0o600, file);
  assert.equal(mode(secret), 0o600);
  assert.equal(store.currentName(), "work");
  assert.deepEqual(store.read("work"), context);
  assert.equal(readFileSync(store.caFile("work") ?? "", "utf8"), context.ca);
});

test("a context that others may read is not used", () => {
  const store = openContexts({ CUSTODY_HOME: join(root, "open") });
  store.write("work", context);
  chmodSync(join(root, "open/contexts/work.json"), 0o640);
  assert.throws(() => store.read("work"), /others may read it/);
});

test("a damaged context says how to make it anew", () => {
  const store = openContexts({ CUSTODY_HOME: join(root, "damaged") });
  store.write("work", context);
  for (const text of ["{", '{"url":1}']) {
    writeFileSync(join(root, "damaged/contexts/work.json"), text);
    assert.throws(
      () => store.read("work"),
      (error) => error instanceof CliError && /makes it anew/.test(error.hint ?? ""),
    );
  }
});

test("several are kept apart, and one without a CA leaves none behind", () => {
  const store = openContexts({ XDG_CONFIG_HOME: join(root, "xdg") });
  assert.equal(store.directory, join(root, "xdg", "custody"));
  assert.deepEqual(store.names(), []);
  assert.equal(store.currentName(), undefined);
  store.write("b", context);
  store.write("a", { ...context, url: "https://other" });
  assert.deepEqual(store.names(), ["a", "b"]);
  assert.equal(store.read("a")?.url, "https://other");
  assert.equal(store.read("c"), undefined);
  store.write("b", { ...context, ca: null });
  assert.equal(store.caFile("b"), undefined);
});

test("a name cannot leave the folder", () => {
  const store = openContexts({ CUSTODY_HOME: join(root, "names") });
  for (const name of ["../x", "a/b", "", ".", "..", "A"])
    assert.throws(() => store.write(name, context), /cannot be a context's name/, name);
});

test("with a keyring the file holds no secret, and nothing is read without the keyring", () => {
  const kept = new Map<string, string>();
  const keyring = {
    name: "a keyring",
    store: (account: string, secret: string) => kept.set(account, secret).size > 0,
    read: (account: string) => kept.get(account),
    remove: (account: string) => void kept.delete(account),
  };
  const home = join(root, "keyring");
  const store = openContexts({ CUSTODY_HOME: home }, keyring);
  const provider = {
    name: "corp",
    issuer: "https://id",
    clientId: "custody",
    scopes: ["openid"],
    flows: ["browser" as const],
    ca: null,
    insecureHttp: false,
  };
  const at = new Date(0).toISOString();
  const secrets = { refreshToken: "refresh-me", idToken: "who-i-am" };
  const signIn = { provider, refreshAt: at, expiresAt: at, ...secrets };
  assert.equal(store.write("work", { ...context, signIn }), "a keyring");
  const text = readFileSync(join(home, "contexts/work.json"), "utf8");
  for (const secret of [context.token, "refresh-me", "who-i-am"])
    assert.ok(!text.includes(secret), secret);
  assert.deepEqual(store.read("work"), { ...context, signIn });
  assert.equal(store.peek("work")?.token, null);
  assert.throws(() => openContexts({ CUSTODY_HOME: home }, undefined).read("work"), {
    exit: "unauthenticated",
  });
  store.write("work", { ...context, token: null, delegationId: null });
  assert.equal(kept.size, 0);
});
