// `custody run` as people and agents have it: the real gateway in front of a real PostgreSQL, programs
// started for real, and what they find.

import assert from "node:assert/strict";
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { chmodSync, existsSync, mkdirSync, readFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import type { DelegationView, Whoami } from "@custody/contract/delegations.ts";
import type { ApprovalRequestView } from "@custody/contract/requests.ts";

import { CUSTODY, userEnvironment } from "../../conformance/support/command-line.ts";
import type { Stage } from "../../demo/stage.ts";
import { openSignedInStage, type SignedInStage } from "./run-harness.ts";

let parts: SignedInStage;
let stage: Stage;
before(async () => {
  parts = await openSignedInStage(["engineer", "dba1"]);
  stage = parts.stage;
});
after(() => parts[Symbol.asyncDispose]());

function custody(args: readonly string[], env: Readonly<Record<string, string>> = {}) {
  return parts.as("engineer", args, env);
}

const script: SignedInStage["script"] = (name, text) => parts.script(name, text);
const query: SignedInStage["query"] = (sql) => parts.query(sql);

async function delegations(): Promise<readonly DelegationView[]> {
  const { json } = await custody(["chain", "--all", "--json"]);
  return (json as { delegations: DelegationView[] }).delegations;
}

async function named(name: string): Promise<DelegationView> {
  const found = (await delegations()).filter((one) => one.name === name);
  assert.equal(found.length, 1, `${found.length} delegations are named ${name}`);
  return found[0] as DelegationView;
}

const READ = ["run", "--target", "orders:read", "--resources", "shop/public/*"];

describe("a program that is run as an agent", () => {
  test("reaches the target by its environment alone, and no further than it was given", async () => {
    const read = await custody([...READ, "--", ...query("select count(*)::int as n from orders")]);
    assert.equal(read.exitCode, 0, read.stderr + read.stdout);
    assert.deepEqual(read.json, [{ n: 400 }]);
    const write = await custody([...READ, "--", ...query("update orders set status = 'x'")]);
    assert.equal(write.exitCode, 7);
    assert.match(JSON.stringify(write.json), /42501.*does not carry sql:update/);
  });

  test("is a hop with a name, and gone from the gateway and the disk when it has ended", async () => {
    const inside = `#!/bin/sh
stat -c '%a %n' "$PGPASSFILE" "$(dirname "$PGPASSFILE")" >&2
exec "${process.execPath}" "${CUSTODY}" whoami --json
`;
    const done = await custody([...READ, "--name", "once", "--", script("inside", inside)]);
    assert.equal(done.exitCode, 0, done.stderr);
    const { chain } = done.json as Whoami;
    assert.deepEqual(
      chain.map((hop) => hop.name),
      ["engineer", "once"],
    );
    const file = /600 (\S+pgpass)\n700 \S+/.exec(done.stderr)?.[1];
    assert.ok(file !== undefined, done.stderr);
    assert.equal(existsSync(join(file, "..")), false);
    const ended = await named("once");
    assert.equal(ended.status, "revoked");
    assert.match(ended.revokeReason ?? "", /the program .* has ended/);
  });

  test("inherits no secret, but what is kept by name, and none is printed", async () => {
    const secrets = {
      AWS_SECRET_ACCESS_KEY: "hidden-1",
      GITHUB_TOKEN: "hidden-2",
      DATABASE_URL: "postgres://me:hidden-3@db/shop",
      PGPASSWORD: "hidden-4",
      NOTE: "ghp_hidden5",
      MY_API_KEY: "kept",
      COLOUR: "blue",
    };
    const args = [...READ, "--keep-env", "MY_API_KEY", "--", "env"];
    const done = await custody(args, secrets);
    assert.equal(done.exitCode, 0, done.stderr);
    assert.doesNotMatch(done.stdout + done.stderr, /hidden/);
    assert.match(done.stdout, /^MY_API_KEY=kept$/m);
    assert.match(done.stdout, /^COLOUR=blue$/m);
    assert.match(done.stderr, /left out: .*GITHUB_TOKEN/);
    const home = stage.home("engineer");
    const own = JSON.parse(readFileSync(join(home, "contexts", "127.0.0.1.json"), "utf8")).token;
    assert.ok(!done.stdout.includes(own), "the agent was given our own credential");
    const refused = await custody([...READ, "--keep-env", "CUSTODY_TOKEN", "--", "env"]);
    assert.equal(refused.exitCode, 2);
  });

  test("narrows further by itself when it runs the same command", async () => {
    const inner = [
      "--name",
      "inner",
      "--quiet",
      "--",
      process.execPath,
      CUSTODY,
      "whoami",
      "--json",
    ];
    const nested = [process.execPath, CUSTODY, "run", "--target", "orders:read", ...inner];
    const done = await custody([...READ, "--name", "outer", "--quiet", "--", ...nested]);
    assert.equal(done.exitCode, 0, done.stderr);
    const { chain, delegation } = done.json as Whoami;
    assert.deepEqual(
      chain.map((hop) => hop.name),
      ["engineer", "outer", "inner"],
    );
    assert.deepEqual(delegation.grant?.[0]?.resources, ["shop/public/*"]);
    const wider = ["run", "--target", "orders:write", "--", "true"];
    const refused = await custody([...READ, "--", process.execPath, CUSTODY, ...wider]);
    assert.equal(refused.exitCode, 1);
    assert.match(refused.stderr, /sql:insert/);
  });

  test("gives approvers its reason with every session", async () => {
    const why = "ticket 4711: spaces, back\\slash";
    const sql = "delete from orders where status = 'cancelled'";
    const args = ["run", "--target", "orders:read,write", "--name", "cleaner", "--why", why];
    const running = custody([...args, "--", ...query(sql)]);
    let request: ApprovalRequestView | undefined;
    while (request === undefined) {
      const { json } = await parts.as("dba1", ["requests", "--state", "waiting", "--json"]);
      request = (json as { requests: ApprovalRequestView[] }).requests[0];
    }
    assert.equal(request.justification, why);
    const { id } = request;
    await parts.as("dba1", ["deny", id, "--reason", "a test"]);
    assert.equal((await running).exitCode, 7);
  });
});

describe("its life", () => {
  test("its exit code is told, and one for what cannot be started", async () => {
    assert.equal((await custody([...READ, "--", "sh", "-c", "exit 42"])).exitCode, 42);
    const killed = await custody([...READ, "--", "sh", "-c", "kill -KILL $$"]);
    assert.equal(killed.exitCode, 137);
    const missing = await custody([...READ, "--name", "missing", "--", "/nowhere/program"]);
    assert.equal(missing.exitCode, 127);
    assert.match(missing.stderr, /cannot be started/);
    assert.equal((await named("missing")).status, "revoked");
    assert.equal((await custody(READ)).exitCode, 2);
    assert.equal((await custody(["run", "--target", "orders", "--", "true"])).exitCode, 2);
  });

  test("a signal is passed on, and the delegation ends with the program", async () => {
    const trap = "trap 'echo got it; exit 9' TERM; echo up; while :; do sleep 0.1; done";
    const started = start([...READ, "--name", "signalled", "--", "sh", "-c", trap]);
    await started.said("up");
    assert.equal((await named("signalled")).status, "active");
    started.child.kill("SIGTERM");
    assert.equal(await started.code, 9);
    assert.match(started.output(), /got it/);
    assert.equal((await named("signalled")).status, "revoked");
  });

  test("is renewed while the program runs, and not with --no-renew", async () => {
    const read = query("select count(*)::int as n from orders").map((one) => `'${one}'`);
    const later = ["sh", "-c", `sleep 5; ${read.join(" ")}`];
    const [renewed, ended] = await Promise.all([
      custody([...READ, "--ttl", "3s", "--name", "renewed", "--", ...later]),
      custody([...READ, "--ttl", "3s", "--no-renew", "--", ...later]),
    ]);
    assert.deepEqual(renewed.json, [{ n: 400 }], renewed.stderr);
    assert.notEqual(ended.exitCode, 0);
    assert.match(ended.stderr, /expired/);
  });
});

const bubblewrap = spawnSync("bwrap", ["--unshare-all", "--ro-bind", "/", "/", "/bin/true"]);
const unable =
  bubblewrap.status === 0 ? false : "bubblewrap is not installed, or may not make namespaces here";

describe("in a sandbox", { skip: unable }, () => {
  const SANDBOX = [...READ, "--sandbox"];

  test("the target is reached, with TLS verified, through the gateway", async () => {
    const program = query("select count(*)::int as n from orders");
    const readable = ["--readable", stage.home("programs")];
    const done = await custody([...SANDBOX, ...readable, "--", ...program]);
    assert.equal(done.exitCode, 0, done.stderr + done.stdout);
    assert.deepEqual(done.json, [{ n: 400 }]);
    const who = await custody([...SANDBOX, "--", process.execPath, CUSTODY, "whoami", "--json"]);
    assert.equal((who.json as Whoami).chain.length, 2, who.stderr);
  });

  test("nothing else is: no other port, no file of ours, nothing to write", async () => {
    const probe = `
import { connect } from "node:net";
import { existsSync, writeFileSync } from "node:fs";
const reach = (to) => new Promise((done) => {
  connect(to).on("connect", () => done("open")).on("error", (e) => done(e.code));
});
const write = (path) => { try { writeFileSync(path, "x"); return "written"; } catch (e) { return e.code; } };
const [database, context, out] = process.argv.slice(2);
console.log(JSON.stringify({
  database: await reach({ host: "127.0.0.1", port: Number(database) }),
  socket: await reach({ path: out + "/engine.sock" }),
  context: existsSync(context),
  root: write("/usr/custody-probe"),
  tmp: write("/tmp/custody-probe"),
  pass: write(process.env.PGPASSFILE),
  out: write(out + "/made"),
}));
`;
    const out = join(stage.folder, "out");
    mkdirSync(out);
    await using engine = createServer().listen(join(out, "engine.sock"));
    // Another account's socket, in a folder of its own, is nobody's way out and no reason to refuse.
    const shut = join(stage.folder, "shut");
    mkdirSync(shut);
    await using another = createServer().listen(join(shut, "another.sock"));
    await Promise.all([once(engine, "listening"), once(another, "listening")]);
    chmodSync(shut, 0o000);
    using _opened = { [Symbol.dispose]: () => chmodSync(shut, 0o700) };
    const context = join(stage.home("engineer"), "contexts", "127.0.0.1.json");
    const args = [String(stage.database.port), context, out];
    const shown = ["--readable", stage.home("programs"), "--writable", out];
    const program = [process.execPath, script("probe.mjs", probe), ...args];
    const done = await custody([...SANDBOX, ...shown, "--", ...program]);
    assert.deepEqual(done.json, {
      database: "ECONNREFUSED",
      socket: "ECONNREFUSED",
      context: false,
      root: "EROFS",
      tmp: "written",
      pass: "EROFS",
      out: "written",
    });
    assert.equal(readFileSync(join(out, "made"), "utf8"), "x");
    assert.equal(existsSync("/tmp/custody-probe"), false);
    const home = ["--writable", stage.home("engineer"), "--", "true"];
    assert.equal((await custody([...SANDBOX, ...home])).exitCode, 2);
  });

  test("signals and exit codes come through", async () => {
    assert.equal((await custody([...SANDBOX, "--", "sh", "-c", "exit 42"])).exitCode, 42);
    assert.equal((await custody([...SANDBOX, "--", "/nowhere/program"])).exitCode, 127);
    const trap = "trap 'echo got it; exit 9' TERM; echo up; while :; do sleep 0.1; done";
    const started = start([...SANDBOX, "--", "sh", "-c", trap]);
    await started.said("up");
    started.child.kill("SIGTERM");
    assert.equal(await started.code, 9, started.output());
  });
});

test("--sandbox is refused, and says why, where bubblewrap is not installed", async () => {
  const empty = join(stage.folder, "no-programs");
  mkdirSync(empty);
  const done = await custody([...READ, "--sandbox", "--", "true"], { PATH: empty });
  assert.equal(done.exitCode, 1);
  assert.match(done.stderr, /needs bubblewrap, which is not installed/);
});

interface Started {
  readonly child: ChildProcess;
  readonly code: Promise<number>;
  output(): string;
  said(text: string): Promise<void>;
}

function start(args: readonly string[]): Started {
  const home = stage.home("engineer");
  const child = spawn(process.execPath, [CUSTODY, ...args], {
    env: userEnvironment(home),
    cwd: home,
    stdio: ["ignore", "pipe", "pipe"],
  });
  let output = "";
  for (const stream of [child.stdout, child.stderr])
    stream.on("data", (chunk) => {
      output += chunk;
    });
  return {
    child,
    code: once(child, "close").then(([code]) => Number(code)),
    output: () => output,
    async said(text) {
      while (!output.split("\n").includes(text)) {
        assert.equal(child.exitCode, null, output);
        await delay(20);
      }
    },
  };
}
