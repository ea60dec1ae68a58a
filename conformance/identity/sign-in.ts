// A person signing in with `custody login` against the real oidc-provider: in a browser, in Chromium,
// with a code; refreshing, several providers, signing out; and a provider that answers what it must not.

import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { CUSTODY, runCustody } from "../support/command-line.ts";
import type { Cases } from "./cases.ts";
import type { Lies } from "./lying-issuer.ts";
import { custodyWhile, type Stage, succeed } from "./stage.ts";

const isThere = (program: string) => spawnSync("sh", ["-c", `command -v ${program}`]).status === 0;

export async function signInCases(cases: Cases, stage: Stage): Promise<void> {
  const { check } = cases;
  const login = ["login", stage.gateway.url, "--ca-fingerprint", stage.gateway.fingerprint];
  await check("login opens the browser and comes back by the loopback redirect", async () => {
    const home = stage.home("engineer");
    const env = stage.browser("browser-program", "engineer");
    const value = await succeed([...login, "--provider", "corp"], home, env);
    assert.equal(value.provider, "corp");
    const whoami = Object(await succeed(["whoami"], home));
    assert.equal(whoami.delegation.actor, "corp/engineer");
    assert.deepEqual(whoami.delegation.groups, ["corp/engineers"]);
    const file = join(home, "contexts", "127.0.0.1.json");
    assert.equal(statSync(file).mode & 0o777, 0o600);
  });
  if (isThere("chromium"))
    await check("login in headless Chromium", async () => {
      const env = { ...stage.browser("chromium-program", "engineer"), HOME: stage.folder };
      const home = stage.home("chromium");
      assert.equal((await succeed([...login, "--provider", "corp"], home, env)).provider, "corp");
    });
  else cases.skip("login in headless Chromium", "chromium is not installed");
  await deviceCases(cases, stage, login);
  await refreshCases(cases, stage);
  await check("a second provider at the same gateway is a context beside the first", async () => {
    const home = stage.home("engineer");
    stage.liar.lie({ claims: { name: "engineer" } });
    const env = { ...stage.browser("browser-program", "engineer"), ...liarCa(stage) };
    const value = await succeed([...login, "--provider", "liar"], home, env);
    assert.equal(value.context, "127.0.0.1-liar");
    const { contexts } = Object(await succeed(["context"], home));
    assert.equal(contexts.length, 2);
    const first = Object(await succeed(["whoami", "--context", "127.0.0.1"], home));
    assert.equal(first.delegation.actor, "corp/engineer");
    const second = Object(await succeed(["whoami"], home));
    assert.equal(second.delegation.actor, "liar/engineer");
    // The same name at another provider is another principal.
    assert.notEqual(first.delegation.subject, second.delegation.subject);
  });
  await lyingCases(cases, stage, login);
  await logoutCases(cases, stage, login);
  await keyringCases(cases, stage, login);
}

async function deviceCases(cases: Cases, stage: Stage, login: readonly string[]): Promise<void> {
  await cases.check("login with a code on another device, QR code included", async () => {
    const home = stage.home("device");
    const result = await custodyWhile(
      [...login, "--provider", "corp", "--device", "--json"],
      home,
      {},
      async (stderr) => {
        const code = /enter the code\s+(\S+)/.exec(stderr)?.[1];
        const uri = /open\s+(https:\S+)/.exec(stderr)?.[1];
        if (code === undefined || uri === undefined) return false;
        assert.match(stderr, /[█▀▄]/, "no QR code");
        await stage.corp.approveDevice("dba", `${uri}?user_code=${code}`);
        return true;
      },
    );
    assert.equal(result.code, 0, result.stderr);
    const whoami = Object(await succeed(["whoami"], home));
    assert.equal(whoami.delegation.actor, "corp/dba");
  });
  await cases.check("a provider without the device flow says so", async () => {
    const args = [...login, "--provider", "liar", "--device"];
    const result = await runCustody(args, { home: stage.home("no-device") });
    assert.equal(result.exitCode, 1);
    assert.match(result.stderr, /no sign-in with a code/);
  });
}

interface ContextFile {
  delegationId: string;
  token: string;
  signIn: { refreshAt: string; expiresAt: string; refreshToken: string | null };
}

function contextOf(home: string, name = "127.0.0.1"): ContextFile {
  return JSON.parse(readFileSync(join(home, "contexts", `${name}.json`), "utf8"));
}

function change(home: string, edit: (context: ContextFile) => void): void {
  const context = contextOf(home);
  edit(context);
  writeFileSync(join(home, "contexts", "127.0.0.1.json"), JSON.stringify(context));
}

async function refreshCases(cases: Cases, stage: Stage): Promise<void> {
  const home = stage.home("engineer");
  const past = new Date(0).toISOString();
  const due = () =>
    change(home, (context) => {
      context.signIn.refreshAt = past;
    });
  await cases.check("a refresh keeps the delegation and reads the groups again", async () => {
    const before = contextOf(home);
    stage.corp.setGroups("engineer", ["interns"]);
    due();
    const whoami = Object(await succeed(["whoami"], home));
    assert.equal(whoami.delegation.id, before.delegationId);
    assert.deepEqual(whoami.delegation.groups, ["corp/interns"]);
    assert.notEqual(contextOf(home).signIn.refreshToken, before.signIn.refreshToken);
    assert.ok(Date.parse(contextOf(home).signIn.refreshAt) > Date.now());
  });
  await cases.check("two commands at once spend one refresh token", async () => {
    due();
    await Promise.all([succeed(["whoami"], home), succeed(["targets"], home)]);
    assert.notEqual(contextOf(home).signIn.refreshToken, null);
  });
  await cases.check(
    "a sign-in goes on while a program runs on it, and so does the program's",
    async () => {
      const home = stage.home("runner");
      const env = stage.browser("browser-program", "engineer");
      const login = ["login", stage.gateway.url, "--ca-fingerprint", stage.gateway.fingerprint];
      await succeed([...login, "--provider", "corp", "--ttl", "20s"], home, env);
      // Longer than the sign-in was to last.
      const inside = `sleep 24; exec "${process.execPath}" "${CUSTODY}" whoami --json`;
      const args = ["run", "--target", "shop:read", "--ttl", "8s", "--", "sh", "-c", inside];
      const done = await runCustody(args, { home });
      assert.equal(done.exitCode, 0, done.stderr);
      assert.equal(Object(done.json).chain.length, 2);
    },
  );
  await cases.check("a sign-in that has ended is made anew without the person", async () => {
    const before = contextOf(home);
    change(home, (context) => {
      context.signIn.refreshAt = past;
      context.signIn.expiresAt = past;
    });
    await succeed(["whoami"], home);
    assert.notEqual(contextOf(home).delegationId, before.delegationId);
  });
  await cases.check("a provider that no longer agrees leaves the sign-in to its end", async () => {
    stage.corp.revokeRefreshTokens();
    due();
    const result = await runCustody(["whoami"], { home });
    assert.equal(result.exitCode, 0, result.stderr);
    assert.match(result.stderr, /does not renew this sign-in/);
    assert.equal(contextOf(home).signIn.refreshToken, null);
  });
}

/** What a relying party has to notice, and by which words we see that it did. */
const LIES: readonly (readonly [string, Lies, RegExp])[] = [
  ["another nonce", { claims: { nonce: "another" } }, /nonce/],
  ["no nonce", { claims: { nonce: undefined } as never }, /nonce/],
  ["another issuer in the response (RFC 9207)", { iss: "https://evil.example" }, /iss/],
  ["another issuer in the ID token", { claims: { iss: "https://evil.example" } }, /iss/],
  ["another audience", { claims: { aud: "another" } }, /aud/],
  ["several audiences without azp", { claims: { aud: ["custody", "x"] } }, /azp|aud/],
  ["an expired ID token", { claims: { exp: 1 } }, /exp/],
  ["a key that is not published", { foreignKey: true }, /signature|JWS/],
  ["discovery that names another issuer", { discovery: "https://evil.example" }, /issuer/],
];

async function lyingCases(cases: Cases, stage: Stage, login: readonly string[]): Promise<void> {
  const env = { ...stage.browser("browser-program", "engineer"), ...liarCa(stage) };
  for (const [name, lies, said] of LIES)
    await cases.check(`login refuses ${name}`, async () => {
      stage.liar.lie(lies);
      const home = stage.home(`lie-${name.replaceAll(/\W/g, "-")}`);
      const result = await runCustody([...login, "--provider", "liar"], { home, env });
      stage.liar.lie({});
      assert.equal(result.exitCode, 3, result.stderr);
      assert.match(result.stderr.slice(result.stderr.indexOf("does not fit")), said);
    });
  await cases.check("a redirect with another state is not taken for ours", async () => {
    stage.liar.lie({ state: "another" });
    const args = [...login, "--provider", "liar"];
    const home = stage.home("state");
    const result = await runCustody(args, { home, env, timeoutMs: 4_000 });
    stage.liar.lie({});
    // It waits on for the right one, until the test ends it.
    assert.equal(result.exitCode, -1, result.stderr);
  });
  await cases.check("a provider that is down is unreachable, not unauthenticated", async () => {
    stage.corp.fail("unavailable");
    const home = stage.home("down");
    const result = await runCustody([...login, "--provider", "corp"], { home, env });
    stage.corp.fail(undefined);
    assert.notEqual(result.exitCode, 0);
  });
}

async function logoutCases(cases: Cases, stage: Stage, login: readonly string[]): Promise<void> {
  await cases.check("logout ends the delegation and the provider's refresh token", async () => {
    const home = stage.home("leaving");
    const env = stage.browser("browser-program", "engineer");
    await succeed([...login, "--provider", "corp"], home, env);
    const { token } = contextOf(home);
    const before = stage.corp.requests.get("/token/revocation") ?? 0;
    const value = await succeed(["logout"], home);
    assert.equal(value.atProvider, true);
    assert.equal(stage.corp.requests.get("/token/revocation"), before + 1);
    assert.equal(await stage.get("/v1/whoami", token), 401);
    assert.ok(!readFileSync(join(home, "contexts", "127.0.0.1.json"), "utf8").includes(token));
  });
}

/** A session bus and a keyring of this test's own. */
async function keyringCases(cases: Cases, stage: Stage, login: readonly string[]): Promise<void> {
  const name = "secrets are in the system's keyring where there is one";
  const missing = ["dbus-run-session", "gnome-keyring-daemon", "secret-tool"].filter(
    (program) => !isThere(program),
  );
  if (missing.length > 0) return cases.skip(name, `${missing.join(", ")} not installed`);
  await cases.check(name, async () => {
    const home = stage.home("keyring");
    mkdirSync(join(home, "run"), { mode: 0o700 });
    const custody = `"${process.execPath}" "${join(import.meta.dirname, "../../packages/cli/bin/custody.mjs")}"`;
    const script = `
      printf x | gnome-keyring-daemon --unlock --components=secrets >/dev/null 2>&1
      ${custody} ${login.join(" ")} --provider corp --json && ${custody} whoami --json`;
    const result = await runSession(script, {
      ...stage.browser("browser-program", "dba"),
      PATH: process.env.PATH ?? "",
      HOME: home,
      CUSTODY_HOME: home,
      XDG_RUNTIME_DIR: join(home, "run"),
    });
    const [signedIn, whoami] = result.stdout
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));
    assert.match(signedIn.kept, /keyring/, result.stderr);
    assert.equal(whoami.delegation.actor, "corp/dba");
    assert.equal(contextOf(home).token, null);
  });
}

async function runSession(script: string, env: NodeJS.ProcessEnv) {
  const child = spawn("dbus-run-session", ["--", "sh", "-c", script], {
    env,
    stdio: ["ignore", "pipe", "pipe"],
    timeout: 60_000,
  });
  let stdout = "";
  let stderr = "";
  child.stdout.on("data", (chunk) => {
    stdout += chunk;
  });
  child.stderr.on("data", (chunk) => {
    stderr += chunk;
  });
  await new Promise((resolve) => child.on("exit", resolve));
  return { stdout, stderr };
}

function liarCa(stage: Stage): Record<string, string> {
  const path = join(stage.folder, "liar-ca.pem");
  return { CUSTODY_TEST_CA: path };
}
