// The commands as a user has them, against an HTTPS server at the gateway's place that answers what the
// contract says (the gateway itself is met in the demo and in conformance/).

import assert from "node:assert/strict";
import { createPublicKey } from "node:crypto";
import { once } from "node:events";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import type { IncomingMessage } from "node:http";
import { createServer } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";

import { ED25519, formatKey } from "@custody/evidence/core/note.ts";
import { createCa } from "@custody/gateway/config/ca.ts";

import type { Io } from "./output.ts";
import { buildProgram, runCli, visibleCommands } from "./program.ts";

const root = mkdtempSync(join(tmpdir(), "custody-cli-"));
const ca = await createCa(join(root, "data"), Date.now());
const HANDLE = "cst_abcd_secret-of-the-delegation";
const TIME = new Date(Date.now() + 3_600_000).toISOString();

interface Received {
  readonly method: string;
  readonly path: string;
  readonly authorization: string | undefined;
  readonly body: string;
}

const received: Received[] = [];
/** By "METHOD path": status and body. */
const answers = new Map<string, { status: number; body: unknown }>();

async function handle(request: IncomingMessage) {
  let body = "";
  for await (const chunk of request) body += String(chunk);
  const key = `${request.method} ${request.url}`;
  const { authorization } = request.headers;
  received.push({ method: request.method ?? "", path: request.url ?? "", authorization, body });
  return answers.get(key) ?? { status: 404, body: { error: { code: "not_found", message: key } } };
}

const issued = await ca.issue({
  hosts: ["127.0.0.1"],
  notBeforeMs: Date.now() - 60_000,
  notAfterMs: Date.now() + 3_600_000,
});
const server = createServer(
  { key: issued.keyPem, cert: issued.certificatePem + ca.certificatePem },
  (request, response) => {
    void handle(request).then(({ status, body }) => {
      response.writeHead(status, { "content-type": "application/json" });
      response.end(typeof body === "string" ? body : JSON.stringify(body));
    });
  },
);
let url = "";
before(async () => {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  assert.ok(address !== null && typeof address === "object");
  url = `https://127.0.0.1:${address.port}`;
});
after(() => {
  server.closeAllConnections();
  server.close();
  rmSync(root, { recursive: true });
});

const tokenFile = join(root, "id-token");
writeFileSync(tokenFile, "header.payload.signature\n");

answers.set("POST /token", {
  status: 200,
  body: {
    access_token: HANDLE,
    issued_token_type: "urn:custody:params:oauth:token-type:handle",
    token_type: "Bearer",
    expires_in: 3600,
    delegation_id: "d-abcd",
  },
});

let homes = 0;
function user(environment: Readonly<Record<string, string>> = {}, stdin = "") {
  const home = join(root, `home-${homes++}`);
  const run = async (...args: string[]) => {
    const out = { stdout: "", stderr: "" };
    const io: Io = {
      stdout: (text) => {
        out.stdout += text;
      },
      stderr: (text) => {
        out.stderr += text;
      },
      colour: false,
      columns: 100,
      environment: { PATH: process.env.PATH, CUSTODY_HOME: home, ...environment },
      nowMs: () => Date.now(),
      readStdin: async () => stdin,
    };
    received.length = 0;
    const code = await runCli(args, io);
    assert.ok(!/^\s+at /m.test(out.stdout + out.stderr), "a stack was shown");
    return { code, ...out };
  };
  return { home, run };
}

async function signedIn() {
  const one = user();
  const fingerprint = ["--ca-fingerprint", ca.fingerprint];
  const done = await one.run("login", url, ...fingerprint, "--token-file", tokenFile);
  assert.equal(done.code, 0, done.stderr);
  return one;
}

describe("exit codes", () => {
  test("2 for what the command line has wrong, with a suggestion", async () => {
    const unknown = await user().run("whomai");
    assert.equal(unknown.code, 2);
    assert.match(unknown.stderr, /Did you mean whoami/);
    assert.equal((await user().run("login")).code, 2);
    assert.equal((await user().run("requests", "--state", "lost")).code, 2);
    assert.equal((await user().run("delegate", "--actor", "x")).code, 3);
    const one = await signedIn();
    const short = await one.run("delegate", "--actor", "x", "--target", "orders");
    assert.equal(short.code, 2);
    assert.match(short.stderr, /--account is needed/);
    assert.equal(received.length, 0);
  });

  test("3 when nobody is signed in, and when the credential is no longer good", async () => {
    const nobody = await user().run("whoami");
    assert.equal(nobody.code, 3);
    assert.match(nobody.stderr, /no gateway is known here\n {2}next {5}custody login/);
    answers.set("GET /v1/whoami", {
      status: 401,
      body: { error: { code: "revoked", message: "revoked by corp/ann", requestId: "r-7f3k" } },
    });
    const one = await signedIn();
    const revoked = await one.run("whoami");
    assert.equal(revoked.code, 3);
    assert.match(revoked.stderr, /custody: revoked by corp\/ann\n {2}request {2}r-7f3k\n {2}next/);
    const json = await one.run("whoami", "--json");
    assert.equal(json.code, 3);
    assert.deepEqual(JSON.parse(json.stdout).error.requestId, "r-7f3k");
    assert.equal(json.stderr, "");
  });

  test("4 when the gateway cannot be reached", async () => {
    const environment = { CUSTODY_URL: "https://127.0.0.1:1", CUSTODY_TOKEN: HANDLE };
    const away = await user(environment).run("targets");
    assert.equal(away.code, 4);
    assert.match(away.stderr, /127\.0\.0\.1:1 cannot be reached/);
  });

  test("1 when the gateway refuses, and when its answer is not understood", async () => {
    const one = await signedIn();
    const refused = await one.run("approve", "h-abcd");
    assert.equal(refused.code, 1);
    answers.set("GET /v1/targets", { status: 200, body: { targets: "none" } });
    const strange = await one.run("targets");
    assert.equal(strange.code, 1);
    assert.match(strange.stderr, /not understood/);
  });

  test("0 for help and version; every command has a help that names its exit from doubt", async () => {
    assert.equal((await user().run("--version")).code, 0);
    const help = await user().run("--help");
    assert.equal(help.code, 0);
    assert.match(help.stdout, /Exit codes:\n {2}0 /);
    const { run } = user();
    const io = { columns: 100, colour: false, stdout: () => undefined, stderr: () => undefined };
    const program = buildProgram(io as unknown as Io);
    for (const command of visibleCommands(program)) {
      assert.ok(command.description().length > 10, command.name());
      assert.equal((await run(command.name(), "--help")).code, 0, command.name());
    }
  });
});

describe("login", () => {
  test("takes the CA by its fingerprint and keeps a context that only its owner reads", async () => {
    const one = await signedIn();
    const file = join(one.home, "contexts", "127.0.0.1.json");
    const context = JSON.parse(readFileSync(file, "utf8"));
    assert.deepEqual(context, {
      url,
      ca: ca.certificatePem,
      token: HANDLE,
      delegationId: "d-abcd",
      signIn: null,
      kept: "file",
    });
    assert.equal(statSync(file).mode & 0o777, 0o600);
    const form = new URLSearchParams(received.find(({ path }) => path === "/token")?.body);
    assert.equal(form.get("subject_token"), "header.payload.signature");
    assert.equal(form.get("actor_token"), null);
    assert.match(form.get("requested_token_type") ?? "", /handle$/);
  });

  test("sends nothing to a server with another fingerprint, or one that is not trusted", async () => {
    const wrong = "00".repeat(32);
    const one = user();
    const refused = await one.run(
      "login",
      url,
      "--ca-fingerprint",
      wrong,
      "--token-file",
      tokenFile,
    );
    assert.equal(refused.code, 1);
    assert.match(refused.stderr, /no certificate with this fingerprint; nothing was sent/);
    assert.equal(received.length, 0);
    const untrusted = await one.run("login", url, "--token-file", tokenFile);
    assert.equal(untrusted.code, 4);
    assert.match(untrusted.stderr, /is not trusted/);
    assert.equal(received.length, 0);
    const short = await one.run("login", url, "--ca-fingerprint", "ab", "--token-file", tokenFile);
    assert.equal(short.code, 2);
    const plain = await one.run("login", "http://127.0.0.1:1", "--token-file", tokenFile);
    assert.equal(plain.code, 2);
    assert.ok(!existsSync(join(one.home, "contexts")));
  });

  test("a refusal of the token endpoint is told in its words", async () => {
    const good = answers.get("POST /token");
    assert.ok(good);
    const body = { error: "invalid_grant", error_description: "the token has expired" };
    answers.set("POST /token", { status: 400, body });
    const args = ["login", url, "--ca-fingerprint", ca.fingerprint, "--token-file", "-"];
    const refused = await user({}, "token").run(...args);
    answers.set("POST /token", good);
    assert.equal(refused.code, 3);
    assert.match(refused.stderr, /the token has expired/);
  });

  test("logout revokes and forgets the credential, not the gateway", async () => {
    const one = await signedIn();
    answers.set("POST /revoke", { status: 200, body: {} });
    assert.equal((await one.run("logout")).code, 0);
    assert.equal(new URLSearchParams(received[0]?.body).get("token"), HANDLE);
    assert.ok(!readFileSync(join(one.home, "contexts", "127.0.0.1.json"), "utf8").includes(HANDLE));
    assert.equal((await one.run("targets")).code, 3);
    assert.match((await one.run("context")).stdout, /\* {2}127\.0\.0\.1 .* signed out/);
  });
});

describe("delegate", () => {
  test("asks for exactly what was said, and prints the credential alone", async () => {
    const one = await signedIn();
    const asked = await one.run(
      ...["delegate", "--actor", "reviewer", "--target", "orders", "--account", "ro"],
      ...[
        "--actions",
        "sql:read,sql:set",
        "--resources",
        "shop/public/*",
        "shop/x",
        "--ttl",
        "1h30m",
      ],
      ...["--max-rows", "10", "--timeout", "30s", "--handle"],
    );
    assert.equal(asked.code, 0, asked.stderr);
    assert.equal(asked.stdout, `${HANDLE}\n`);
    assert.match(asked.stderr, /d-abcd/);
    const form = new URLSearchParams(received[0]?.body);
    assert.equal(form.get("subject_token"), HANDLE);
    assert.match(form.get("subject_token_type") ?? "", /:handle$/);
    assert.equal(form.get("actor_token"), "reviewer");
    assert.match(form.get("actor_token_type") ?? "", /:agent-name$/);
    assert.equal(form.get("expires_in"), "5400");
    assert.deepEqual(JSON.parse(form.get("authorization_details") ?? ""), [
      {
        type: "custody",
        targets: ["orders"],
        accounts: ["ro"],
        actions: ["sql:read", "sql:set"],
        resources: ["shop/public/*", "shop/x"],
        unmask: [],
        limits: { max_rows: 10, timeout_ms: 30_000 },
      },
    ]);
  });

  test("acts with CUSTODY_TOKEN when there is one, and writes a file for its owner only", async () => {
    const caFile = join(root, "ca-of-agent.pem");
    writeFileSync(caFile, ca.certificatePem);
    const environment = { CUSTODY_URL: url, CUSTODY_CA: caFile, CUSTODY_TOKEN: "a.jwt.token" };
    const out = join(root, "child-token");
    const grant = JSON.stringify([{ type: "custody", targets: ["orders"] }]);
    const done = await user(environment, grant).run(
      ...["delegate", "--actor", "child", "--grant", "-", "--out", out],
    );
    assert.equal(done.code, 0, done.stderr);
    assert.equal(done.stdout, "");
    assert.equal(readFileSync(out, "utf8"), `${HANDLE}\n`);
    assert.equal(statSync(out).mode & 0o777, 0o600);
    const form = new URLSearchParams(received[0]?.body);
    assert.match(form.get("subject_token_type") ?? "", /:jwt$/);
    assert.equal(form.get("authorization_details"), grant);
  });
});

describe("connect", () => {
  const list = {
    targets: [
      {
        name: "orders",
        protocol: "postgres",
        accounts: ["ro", "app"],
        defaultAccount: null,
        databases: ["shop"],
        classes: [],
        tags: {},
      },
    ],
    listeners: { postgres: { host: "127.0.0.1", port: 7432 } },
  };

  test("starts the client with a password file of its own and no credential in its environment", async () => {
    answers.set("GET /v1/targets", { status: 200, body: list });
    const one = await signedIn();
    const seen = join(root, "seen");
    const client = join(root, "client");
    const script = `#!/bin/sh\nenv > ${seen}\nprintf '%s|' "$@" > ${seen}.args\ncp -p "$PGPASSFILE" ${seen}.pass\nexit 3\n`;
    writeFileSync(client, script, { mode: 0o700 });
    const args = ["connect", "ro~orders", "--client", client, "--", "-c", "select 1", "--json"];
    const done = await one.run(...args);
    assert.equal(done.code, 3);
    assert.equal(done.stderr, "");
    const environment = readFileSync(seen, "utf8");
    assert.ok(!environment.includes(HANDLE));
    for (const line of [
      "PGHOST=127.0.0.1",
      "PGPORT=7432",
      "PGUSER=ro~orders",
      "PGDATABASE=shop",
      "PGSSLMODE=verify-full",
      `PGSSLROOTCERT=${join(one.home, "contexts", "127.0.0.1.ca.pem")}`,
    ])
      assert.ok(environment.split("\n").includes(line), line);
    assert.equal(readFileSync(`${seen}.args`, "utf8"), "-c|select 1|--json|");
    const pass = readFileSync(`${seen}.pass`, "utf8");
    assert.equal(pass, `127.0.0.1:7432:shop:ro~orders:${HANDLE}\n`);
    assert.equal(statSync(`${seen}.pass`).mode & 0o777, 0o600);
    assert.ok(!existsSync(join(one.home, `pgpass-${process.pid}`)));
  });

  test("gives the client a certificate for a key of its own instead of the password", async () => {
    answers.set("GET /v1/targets", { status: 200, body: list });
    const certificate = "-----BEGIN CERTIFICATE-----\n";
    answers.set("POST /v1/client-certificates", {
      status: 200,
      body: { certificate, expiresAt: TIME },
    });
    const one = await signedIn();
    const seen = join(root, "certified");
    const client = join(root, "certified-client");
    const script = `#!/bin/sh\nenv > ${seen}\ncp -p "$PGSSLCERT" ${seen}.cert\ncp -p "$PGSSLKEY" ${seen}.key\n`;
    writeFileSync(client, script, { mode: 0o700 });
    const done = await one.run("connect", "ro~orders", "--client", client, "--certificate");
    assert.equal(done.code, 0, done.stderr);
    const environment = readFileSync(seen, "utf8");
    assert.ok(!environment.includes(HANDLE) && !environment.includes("PGPASSFILE"));
    assert.equal(readFileSync(`${seen}.cert`, "utf8"), certificate);
    assert.equal(statSync(`${seen}.key`).mode & 0o777, 0o600);
    const asked = JSON.parse(
      received.findLast(({ body }) => body.includes("publicKey"))?.body ?? "",
    );
    const own = createPublicKey(readFileSync(`${seen}.key`, "utf8"));
    assert.equal(asked.publicKey, own.export({ type: "spki", format: "pem" }).toString());
    const files = readFileSync(seen, "utf8").match(/(?<=PGSSL(CERT|KEY)=).*/g) ?? [];
    assert.deepEqual(
      files.map((file) => existsSync(file)),
      [false, false],
    );
  });

  test("says what is missing: the account, the database, the target", async () => {
    answers.set("GET /v1/targets", { status: 200, body: list });
    const one = await signedIn();
    assert.match((await one.run("connect", "orders")).stderr, /several accounts.*\n.*ro~orders/);
    assert.match((await one.run("connect", "ro~others")).stderr, /no target others/);
    const printed = await one.run("connect", "ro~orders", "--print");
    assert.equal(printed.code, 0);
    assert.match(
      printed.stdout,
      /psql "host=127\.0\.0\.1 port=7432 user=ro~orders dbname=shop sslmode=verify-full/,
    );
  });
});

describe("people read", () => {
  const hop = (kind: string, id: string, name: string) => ({
    delegationId: "d-abcd",
    kind,
    id,
    name,
    subject: id,
    provenance: "attested",
    expiresAt: TIME,
  });

  test("requests: what, by which chain, and whether it is theirs to answer", async () => {
    answers.set("GET /v1/requests/h-abcd", {
      status: 200,
      body: {
        id: "h-abcd",
        state: "waiting",
        what: "delete on table public.orders",
        command: "delete from orders\u001b[2J",
        commandTruncated: false,
        parameters: ["7", null],
        preview: [{ title: "What it changes", text: "- a: 1\u001b[1m\n+ a: 2" }],
        target: "orders",
        account: "app",
        sessionId: "s-abcd",
        requestId: "r-abcd",
        binding: "b",
        chain: [hop("user", "corp/ann", "Ann"), hop("agent", "d-efgh", "ci-job")],
        justification: null,
        requirements: [
          {
            policyId: "deletes-need-a-dba",
            message: null,
            quorum: 1,
            approvers: ["corp/dba"],
            approvals: 0,
          },
        ],
        forWhom: "a member of corp/dba",
        votes: [],
        createdAt: TIME,
        expiresAt: TIME,
        endedAt: null,
        mayVote: false,
        whyNot: "you are behind this chain",
      },
    });
    const one = await signedIn();
    const { stdout } = await one.run("requests", "h-abcd");
    assert.match(stdout, /chain +corp\/ann > ci-job/);
    assert.match(stdout, /policy +deletes-need-a-dba: 0 of 1/);
    assert.match(stdout, /you +you are behind this chain/);
    assert.match(stdout, /\$1 = 7\n {2}\$2 = null/);
    assert.match(stdout, /What it changes\n {2}- a: 1\\u\{1b\}\[1m\n {2}\+ a: 2\n/);
    assert.ok(!stdout.includes("\u001b"));
  });

  test("explain: one command of a session, found by the id its error named", async () => {
    const bytes = Buffer.from("drop table orders").toString("base64");
    const lines = [
      { t: 0, kind: "start", data: {} },
      {
        t: 5,
        kind: "command",
        request: "r-7f3k-1",
        bytes: Buffer.from("select 1").toString("base64"),
      },
      { t: 9, kind: "command", request: "r-7f3k-2", bytes },
      {
        t: 9,
        kind: "event",
        request: "r-7f3k-2",
        type: "denied",
        data: { policy: "no-schema-changes" },
      },
    ];
    answers.set("GET /v1/sessions/s-7f3k/recording", {
      status: 200,
      body: lines.map((line) => `${JSON.stringify(line)}\n`).join(""),
    });
    const one = await signedIn();
    const { code, stdout } = await one.run("explain", "r-7f3k-2");
    assert.equal(code, 0);
    assert.match(
      stdout,
      /^0\.009s {4}drop table orders .*\n0\.009s {4}denied {2}policy=no-schema-changes\n$/,
    );
    assert.equal((await one.run("explain", "r-7f3k-9")).code, 1);
    assert.equal((await one.run("explain", "s-7f3k")).code, 2);
  });

  test("the tail, line by line, without the keep-alives; a stream that breaks off is an error", async () => {
    const leaf = {
      v: 1,
      event: "command.denied",
      at: Date.parse(TIME),
      session: "s-abcd",
      decision: "deny",
    };
    const lines = [
      leaf,
      { alive: true },
      { gap: 3 },
      { error: { code: "shutdown", message: "stopping" } },
    ];
    answers.set("GET /v1/events", {
      status: 200,
      body: lines.map((line) => `${JSON.stringify(line)}\n`).join(""),
    });
    const one = await signedIn();
    const { code, stdout, stderr } = await one.run("tail");
    assert.equal(code, 4);
    assert.match(
      stdout,
      /^\d\d:\d\d:\d\d\.\d{3} {2}command\.denied {2}deny {2}s-abcd\n… 3 events left out/,
    );
    assert.equal(stdout.trimEnd().split("\n").length, 2);
    assert.match(stderr, /stopping/);
  });
});

describe("without a gateway", () => {
  test("init, then check, and check again when it was broken", async () => {
    const folder = join(root, "new");
    const { run } = user();
    const made = await run("init", folder, "--json");
    assert.equal(made.code, 0, made.stdout);
    const { configFile, caFingerprint } = JSON.parse(made.stdout);
    assert.match(caFingerprint, /^([0-9A-F]{2}:){31}/);
    assert.equal((await run("check", "--config", configFile)).code, 0);
    const again = await run("init", folder);
    assert.equal(again.code, 1);
    assert.match(again.stderr, /already there; nothing was changed\n {2}next/);

    writeFileSync(join(folder, "policies", "mine.cedar"), "permit (principal, action, resource)\n");
    const policy = await run("check", "--config", configFile);
    assert.equal(policy.code, 2);
    assert.match(policy.stdout, /mine\.cedar:\d+:\d+: /);
    writeFileSync(configFile, "version: 1\nlimts: {}\n");
    const broken = await run("check", "--config", configFile);
    assert.equal(broken.code, 2);
    assert.match(broken.stdout, /custody\.yaml:2:1: limts: .*did you mean "limits"/);
  });

  test("seal makes a secret the gateway can open; target setup prints SQL for review", async () => {
    const folder = join(root, "sealing");
    await user().run("init", folder);
    const configFile = join(folder, "custody.yaml");
    const sealed = await user({}, "s3cret\n").run("seal", "--config", configFile);
    assert.match(sealed.stdout, /^sealed:[A-Za-z0-9_-]+\n$/);
    const account = `{ fixed-role: { user: app, password: "${sealed.stdout.trim()}" } }`;
    writeFileSync(
      configFile,
      `version: 1
targets:
  orders:
    postgres:
      host: db
      accounts: { app: { credential: ${account} } }
      catalogue: { user: cat, password: "env:CAT" }
`,
    );
    const setup = await user().run("target", "setup", "orders", "--config", configFile);
    assert.equal(setup.code, 0, setup.stderr);
    assert.match(setup.stdout, /^-- Custody: target orders, account app/);
    assert.ok(!setup.stdout.includes("s3cret"));
    assert.equal((await user().run("target", "setup", "lost", "--config", configFile)).code, 2);
  });

  test("audit verify: 5 for what does not fit, 2 without a key", async () => {
    const folder = join(root, "no-log");
    mkdirSync(folder);
    assert.equal((await user().run("audit", "verify", folder)).code, 2);
    assert.equal((await user().run("audit", "verify", folder, "--key", "nonsense")).code, 2);
    const key = formatKey("example.com/log", ED25519, new Uint8Array(32).fill(7));
    const missing = await user().run("audit", "verify", folder, "--key", key);
    assert.equal(missing.code, 5);
    assert.match(missing.stdout, /^NOT verified\n {2}✗ checkpoint: is missing/);
    const json = await user().run("audit", "verify", folder, "--key", key, "--json");
    assert.equal(json.code, 5);
    assert.equal(JSON.parse(json.stdout).ok, false);
  });
});
