// The integrations, as far as they go without the vendors: their files are what the vendors read, and
// their scripts run against the real gateway, which trusts a real OIDC provider's tokens as a
// workload's. What a vendor would do around them is done here by hand.

import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { parse, parseAllDocuments } from "yaml";
import { openStage, type Stage } from "../../demo/stage.ts";
import { CUSTODY, userEnvironment } from "../support/command-line.ts";
import { startGateway, type TestGateway } from "../support/gateway.ts";

const HERE = join(import.meta.dirname, "../../integrations");
const read = (file: string) => readFileSync(join(HERE, file), "utf8");

const POLICY = `
@id("pipelines-connect")
permit (principal in Custody::Group::"pipelines/engineers", action == Custody::Action::"connect", resource);
@id("pipelines-read")
permit (principal in Custody::Group::"pipelines/engineers", action in [SQL::Action::"read"], resource);
`;

let stage: Stage;
let gateway: TestGateway;
let path = "";
before(async () => {
  stage = await openStage(() => undefined);
  // The stage's own configuration, with the provider's tokens as those of pipelines.
  const text = readFileSync(stage.gateway.configFile, "utf8");
  const configuration = text
    .slice(text.indexOf("providers:"))
    .replace(/^people:\n(?: .*\n)+/m, "")
    .replace("  corp:\n", "  pipelines:\n")
    .replace("kind: users", "kind: workloads\n      claims: { preferred_username: engineer }");
  gateway = await startGateway({
    folder: join(stage.folder, "ci-gateway"),
    configuration,
    policies: { "pipelines.cedar": POLICY },
  });
  const programs = stage.home("programs");
  writeFileSync(
    join(programs, "custody"),
    `#!/bin/sh\nexec '${process.execPath}' '${CUSTODY}' "$@"\n`,
    { mode: 0o755 },
  );
  path = `${programs}:${process.env.PATH}`;
});
after(async () => {
  await gateway?.[Symbol.asyncDispose]();
  await stage?.[Symbol.asyncDispose]();
});

interface Ran {
  readonly code: number;
  readonly output: string;
}

async function run(
  name: string,
  command: readonly [string, ...string[]],
  env: Readonly<Record<string, string>>,
): Promise<Ran> {
  const home = stage.home(name);
  const [program, ...args] = command;
  const child = spawn(program, args, {
    cwd: home,
    env: userEnvironment(home, { PATH: path, TMPDIR: home, ...env }),
    stdio: ["ignore", "pipe", "pipe"],
  });
  let output = "";
  for (const stream of [child.stdout, child.stderr])
    stream.on("data", (chunk) => {
      output += chunk;
    });
  const [code] = await once(child, "close");
  return { code: Number(code), output };
}

/** What a step runs: who it is, whether the database answers, and what it inherited. */
const STEP = `custody whoami --json
'${process.execPath}' -e '
const { connect } = require("node:net");
connect(Number(process.env.PGPORT), process.env.PGHOST).on("connect", () => process.exit(0));
'
env
`;

function assertIsStep(ran: Ran, name: string): void {
  assert.equal(ran.code, 0, ran.output);
  const line = ran.output.split("\n").find((one) => one.startsWith('{"delegation"'));
  const { chain } = JSON.parse(line ?? "{}") as { chain: { name: string; kind: string }[] };
  assert.deepEqual(
    chain.map((hop) => hop.kind),
    ["workload", "agent"],
  );
  assert.equal(chain[1]?.name, name);
  assert.doesNotMatch(ran.output, /REQUEST_TOKEN=|ID_TOKEN=|eyJ/);
  assert.match(ran.output, /^PGUSER=app~orders$/m);
}

describe("the GitHub action", () => {
  test("names every input it passes on, and nothing else", () => {
    const action = parse(read("github/action.yml"));
    assert.equal(action.runs.using, "composite");
    const [step] = action.runs.steps;
    const passed = Object.entries(step.env as Record<string, string>);
    const inputs = Object.keys(action.inputs);
    assert.deepEqual(
      passed.map(([, value]) => /^\$\{\{ inputs\.([a-z]+) \}\}$/.exec(value)?.[1]),
      inputs,
    );
    // An input in the text of a script would be run as part of it.
    assert.doesNotMatch(step.run, /inputs\./);
    const script = read("github/step.sh");
    for (const [variable] of passed) assert.ok(script.includes(`$${variable}`), variable);
    assert.equal(spawnSync("bash", ["-n", join(HERE, "github/step.sh")]).status, 0);
  });

  test("signs the job in with its OIDC token and runs the step as an agent", async () => {
    const asked: { url: string; authorization: string }[] = [];
    const server = createServer((request, response) => {
      asked.push({ url: request.url ?? "", authorization: request.headers.authorization ?? "" });
      void stage.provider.idToken("engineer").then((value) => {
        response.end(JSON.stringify({ count: value.length, value }));
      });
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const address = server.address();
    assert.ok(address !== null && typeof address === "object");
    const platform = {
      ACTIONS_ID_TOKEN_REQUEST_URL: `http://127.0.0.1:${address.port}/token?api-version=2.0`,
      ACTIONS_ID_TOKEN_REQUEST_TOKEN: "of-the-runner",
    };
    const inputs = {
      STEP_URL: gateway.url,
      STEP_CA: readFileSync(gateway.caFile, "utf8"),
      STEP_AUDIENCE: "custody & more",
      STEP_TARGET: "orders:read",
      STEP_RESOURCES: "shop/public/*",
      STEP_TTL: "5m",
      STEP_NAME: "nightly report",
      STEP_WHY: "",
      STEP_RUN: STEP,
      STEP_CUSTODY: "custody",
    };
    const script = join(HERE, "github/step.sh");
    const ran = await run("github", ["bash", script], { ...platform, ...inputs });
    assertIsStep(ran, "nightly report");
    assert.deepEqual(asked, [
      {
        url: "/token?api-version=2.0&audience=custody+%26+more",
        authorization: "bearer of-the-runner",
      },
    ]);
    const failed = await run("github", ["bash", script], {
      ...platform,
      ...inputs,
      STEP_RUN: "exit 9",
    });
    assert.equal(failed.code, 9);
    server.close();
    const without = await run("github", ["bash", script], inputs);
    assert.equal(without.code, 2);
    assert.match(without.output, /id-token: write/);
  });
});

describe("the GitLab template", () => {
  test("signs the job in with its ID token and runs it as an agent", async () => {
    const job = parse(read("gitlab/custody.gitlab-ci.yml"))[".custody"];
    assert.deepEqual(Object.keys(job.id_tokens), ["CUSTODY_ID_TOKEN"]);
    assert.equal(job.script.length, 1);
    const env = {
      ...job.variables,
      CUSTODY_ID_TOKEN: await stage.provider.idToken("engineer"),
      CUSTODY_GATEWAY: gateway.url,
      CUSTODY_GATEWAY_CA: gateway.caFile,
      CUSTODY_TARGET: "orders/app:read",
      CUSTODY_RESOURCES: "shop/public/* shop/other/*",
      CUSTODY_WHY: "nightly",
      CUSTODY_STEP: `${STEP}test "$CUSTODY_JUSTIFICATION" = nightly`,
      CI_JOB_NAME_SLUG: "report",
    };
    assertIsStep(await run("gitlab", ["sh", "-c", job.script[0]], env), "report");
    const refused = await run("gitlab", ["sh", "-c", job.script[0]], {
      ...env,
      CUSTODY_ID_TOKEN: "not.a.token",
    });
    assert.notEqual(refused.code, 0);
    assert.doesNotMatch(refused.output, /PGUSER/);
  });
});

describe("the Kubernetes sidecar", () => {
  test("keeps the application's files while it runs, and puts them away", async () => {
    const documents = parseAllDocuments(read("kubernetes/sidecar.yaml")).map((one) => one.toJS());
    const [account, script, pod] = documents;
    assert.equal(account.automountServiceAccountToken, false);
    const [sidecar] = pod.spec.initContainers;
    assert.equal(sidecar.restartPolicy, "Always");
    const share = join(stage.folder, "share");
    const work = join(stage.folder, "work");
    mkdirSync(share);
    mkdirSync(work);
    const tokenFile = join(stage.folder, "projected-token");
    writeFileSync(tokenFile, await stage.provider.idToken("engineer"));
    const given: Record<string, string> = {
      GATEWAY: gateway.url,
      GATEWAY_CA: gateway.caFile,
      TOKEN_FILE: tokenFile,
      TARGET: "orders:read",
      NAME: "report-7d9f",
      SHARE: share,
      WORK: work,
      PERIOD: "60",
    };
    assert.deepEqual(
      sidecar.env.map((one: { name: string }) => one.name),
      Object.keys(given),
    );
    const home = stage.home("pod");
    const file = join(home, "sidecar.sh");
    writeFileSync(file, script.data["sidecar.sh"]);
    const child = spawn("sh", [file], {
      cwd: home,
      env: userEnvironment(home, { ...given, PATH: path }),
      stdio: ["ignore", "ignore", "pipe"],
    });
    let said = "";
    child.stderr.on("data", (chunk) => {
      said += chunk;
    });
    const environment = join(share, "env");
    for (let tries = 0; !existsSync(environment); tries++) {
      assert.ok(tries < 300 && child.exitCode === null, said);
      await delay(50);
    }
    const application = `. ${share}/env && test -s "$PGPASSFILE" && test -s "$PGSSLROOTCERT" && echo $PGUSER`;
    const shown = await run("pod", ["sh", "-euc", application], {});
    assert.equal(shown.output, "app~orders\n");
    child.kill("SIGTERM");
    await once(child, "exit");
    assert.equal(existsSync(join(share, "pgpass")), false, said);
    assert.equal(existsSync(environment), false);
  });
});
