import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import {
  chmodSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, test } from "node:test";
import { formatCheckpoint } from "@custody/evidence/core/checkpoint.ts";
import type { GatewayError } from "../base/errors.ts";
import { systemRandom } from "../base/ids.ts";
import {
  type Anchoring,
  type AnchoringDeps,
  folderAnchors,
  refuseIfAnchoredAhead,
  startAnchoring,
} from "./anchors.ts";
import { createLogFiles } from "./log-files.ts";
import { loadLogKey } from "./log-key.ts";
import { createOutbound } from "./outbound.ts";
import { openSequencer } from "./sequencer.ts";

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

function temporary(): string {
  const directory = mkdtempSync(join(tmpdir(), "custody-anchors-"));
  cleanups.push(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

interface Stage {
  readonly anchors: string;
  readonly problems: string[];
  readonly forks: GatewayError[];
  readonly deps: AnchoringDeps;
  publish(size: number, fill?: number): void;
  start(): Anchoring;
}

function stage(timeStampUrl?: string): Stage {
  const data = temporary();
  const anchors = join(temporary(), "worm");
  const problems: string[] = [];
  const forks: GatewayError[] = [];
  const key = loadLogKey(data, systemRandom, { origin: "log.example/a b".replace(" ", "-") });
  const logDirectory = join(data, "log");
  mkdirSync(logDirectory);
  const outbound = createOutbound(undefined, 2_000);
  cleanups.push(() => outbound[Symbol.asyncDispose]());
  const deps: AnchoringDeps = {
    logDirectory,
    key,
    stores: [folderAnchors(anchors)],
    timeStamps: timeStampUrl === undefined ? undefined : { url: timeStampUrl, outbound },
    random: systemRandom,
    everyMs: 60_000,
    onProblem: (message) => problems.push(message),
    onFork: (error) => forks.push(error),
  };
  return {
    anchors,
    problems,
    forks,
    deps,
    publish(size, fill = size) {
      const root = new Uint8Array(32).fill(fill);
      const note = key.sign(formatCheckpoint({ origin: key.origin, size, root }));
      writeFileSync(join(logDirectory, "checkpoint"), note);
    },
    start: () => startAnchoring(deps),
  };
}

test("heads are copied whole and never written over; the one at the stop too", async () => {
  const { anchors, publish, start, problems, forks } = stage();
  const anchoring = start();
  await anchoring.round();
  publish(7);
  await anchoring.round();
  const first = readFileSync(join(anchors, "log.example_a-b.0000000000000007.checkpoint"));
  await anchoring.round();
  publish(12);
  await anchoring[Symbol.asyncDispose]();
  assert.equal(anchoring.anchoredSize, 12);
  assert.deepEqual(readdirSync(anchors).sort(), [
    "log.example_a-b.0000000000000007.checkpoint",
    "log.example_a-b.0000000000000012.checkpoint",
  ]);
  const again = start();
  publish(7, 9);
  await again.round();
  assert.deepEqual(
    readFileSync(join(anchors, "log.example_a-b.0000000000000007.checkpoint")),
    first,
  );
  assert.equal(forks.length, 1, "another head of this size, by the same key");
  assert.deepEqual(problems, []);
});

test("a gateway whose anchors are ahead is not started; what is not signed by it does not matter", async () => {
  const { anchors, publish, start, deps } = stage();
  publish(5);
  await start().round();
  await refuseIfAnchoredAhead(deps);
  publish(3);
  await assert.rejects(refuseIfAnchoredAhead(deps), {
    code: "evidence_unavailable",
    message: /an anchor in .* has seen 5 of its records, here are 3/,
  });
  rmSync(deps.logDirectory, { recursive: true });
  await assert.rejects(refuseIfAnchoredAhead(deps), /has seen 5 of its records, here are 0/);
  mkdirSync(deps.logDirectory);
  publish(5);
  cpSync(
    join(anchors, "log.example_a-b.0000000000000005.checkpoint"),
    join(anchors, "log.example_a-b.0000000000000006.checkpoint"),
  );
  const forged = join(anchors, "log.example_a-b.0000000000000006.checkpoint");
  const text = readFileSync(forged, "utf8");
  chmodSync(forged, 0o600);
  writeFileSync(forged, text.replace("\n5\n", "\n6\n"));
  await refuseIfAnchoredAhead(deps);
});

test("a store that cannot be written is a problem each time, and is tried again", async () => {
  const { anchors, publish, start, problems } = stage();
  writeFileSync(anchors, "a file where a folder should be");
  publish(4);
  const anchoring = start();
  await anchoring.round();
  assert.equal(anchoring.anchoredSize, 0);
  assert.equal(problems.length, 1);
  rmSync(anchors);
  await anchoring.round();
  assert.equal(anchoring.anchoredSize, 4);
});

test("a time stamp of an authority that is openssl, verified by openssl", async () => {
  const tsa = temporary();
  const openssl = (...args: string[]) => execFileSync("openssl", args, { cwd: tsa, stdio: "pipe" });
  writeFileSync(
    join(tsa, "tsa.cnf"),
    [
      "[tsa]\ndefault_tsa = one",
      "[one]\ndir = .\nserial = serial\nsigner_cert = tsa.pem\nsigner_key = tsa.key",
      "certs = ca.pem\nsigner_digest = sha256\ndefault_policy = 1.2.3.4.1\ndigests = sha256",
      "accuracy = secs:1\nordering = yes\ntsa_name = yes\ness_cert_id_chain = no",
      "[ext]\nextendedKeyUsage = critical,timeStamping\nkeyUsage = critical,digitalSignature\n",
    ].join("\n"),
  );
  writeFileSync(join(tsa, "serial"), "01\n");
  const subject = ["-subj", "/CN=Test CA", "-nodes", "-newkey", "ec", "-pkeyopt"];
  openssl(
    "req",
    "-x509",
    ...subject,
    "ec_paramgen_curve:P-256",
    "-keyout",
    "ca.key",
    "-out",
    "ca.pem",
  );
  const request = ["-subj", "/CN=Test TSA", "-nodes", "-newkey", "ec", "-pkeyopt"];
  openssl("req", ...request, "ec_paramgen_curve:P-256", "-keyout", "tsa.key", "-out", "tsa.csr");
  const issue = [
    "x509",
    "-req",
    "-in",
    "tsa.csr",
    "-CA",
    "ca.pem",
    "-CAkey",
    "ca.key",
    "-days",
    "1",
  ];
  openssl(...issue, "-extfile", "tsa.cnf", "-extensions", "ext", "-out", "tsa.pem");
  let replies: "right" | "wrong" | "refused" = "right";
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk);
    const kept = join(tsa, "query.tsq");
    if (replies === "right") writeFileSync(kept, Buffer.concat(chunks));
    if (replies === "refused") writeFileSync(kept, Buffer.from("3000", "hex"));
    const reply = ["ts", "-reply", "-config", "tsa.cnf", "-queryfile", "query.tsq"];
    openssl(...reply, "-out", "reply.tsr");
    response.writeHead(200, { "content-type": "application/timestamp-reply" });
    response.end(readFileSync(join(tsa, "reply.tsr")));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  cleanups.push(() => server.close(() => undefined));
  const address = server.address();
  assert.ok(typeof address === "object" && address !== null);
  const { anchors, publish, start, problems } = stage(`http://127.0.0.1:${address.port}/tsa`);
  const anchoring = start();
  publish(7);
  await anchoring.round();
  assert.deepEqual(problems, []);
  const name = join(anchors, "log.example_a-b.0000000000000007.checkpoint");
  const verify = (data: string) =>
    openssl("ts", "-verify", "-in", `${name}.tsr`, "-data", data, "-CAfile", "ca.pem");
  assert.match(verify(name).toString(), /Verification: OK/);
  const other = join(tsa, "other");
  writeFileSync(other, readFileSync(name, "utf8").replace("\n7\n", "\n8\n"));
  assert.throws(() => verify(other));

  for (const [reply, expected] of [
    ["wrong", /is for another request/],
    ["refused", /refuses, with status 2/],
  ] as const) {
    replies = reply;
    publish(reply.length + 8);
    await anchoring.round();
    assert.match(problems.at(-1) ?? "", expected);
  }
});

test("heads of a log in shards have names of their own, and an anchor of the next shard refuses a start", async () => {
  const { anchors, deps, start, problems } = stage();
  const { key, logDirectory } = deps;
  const time = { now: Date.parse("2026-06-01T00:00:00Z") };
  const sharding = { period: "year", nowMs: () => time.now } as const;
  const run = (): void => {
    const data = join(logDirectory, "..");
    const sequencer = openSequencer({
      dataDirectory: data,
      key,
      files: createLogFiles(),
      sharding,
    });
    sequencer.step(new Map());
    sequencer.close();
  };
  run();
  const backup = temporary();
  cpSync(join(logDirectory, ".."), backup, { recursive: true });
  time.now = Date.parse("2027-06-01T00:00:00Z");
  run();
  const anchoring = start();
  await anchoring.round();
  assert.deepEqual(problems, []);
  assert.equal(anchoring.anchoredSize, 3);
  assert.deepEqual(readdirSync(anchors).sort(), [
    "log.example_a-b_2026.0000000000000002.checkpoint",
    "log.example_a-b_2027.0000000000000001.checkpoint",
  ]);
  await refuseIfAnchoredAhead({ ...deps, sharding });
  const restored = { ...deps, sharding, logDirectory: join(backup, "log") };
  await assert.rejects(refuseIfAnchoredAhead(restored), /has seen 2 of its records, here are 1/);
  rmSync(join(anchors, "log.example_a-b_2026.0000000000000002.checkpoint"));
  await assert.rejects(refuseIfAnchoredAhead(restored), /has seen 1 of its records, here are 0/);
});
