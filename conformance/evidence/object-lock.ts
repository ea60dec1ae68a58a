// Anchors in a bucket with object lock, against an S3 server of somebody else's that verifies every signature:
// Versity S3 Gateway, `versitygw` on the path, or built with Go at full size (several minutes). What was
// anchored cannot be overwritten or deleted by who has the bucket's key, cannot be hidden by newer versions
// or delete markers, and a log that is behind it is not gone on with.

import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { formatCheckpoint } from "@custody/evidence/core/checkpoint.ts";
import {
  type AnchoringDeps,
  refuseIfAnchoredAhead,
  startAnchoring,
} from "@custody/gateway/audit/anchors.ts";
import { signAwsRequest } from "@custody/gateway/audit/aws-signature.ts";
import { loadLogKey } from "@custody/gateway/audit/log-key.ts";
import { createOutbound } from "@custody/gateway/audit/outbound.ts";
import { s3Anchors } from "@custody/gateway/audit/s3-anchors.ts";
import { systemClock } from "@custody/gateway/base/clock.ts";
import { systemRandom } from "@custody/gateway/base/ids.ts";
import { freePort } from "../support/free-port.ts";
import { has, report, skip } from "./report.ts";

const SERVER = "github.com/versity/versitygw/cmd/versitygw@v1.8.0";
const REGION = "us-east-1";
const DAY_MS = 86_400_000;

interface Bucket {
  readonly url: string;
  readonly key: { readonly id: string; readonly secret: string };
}

export async function anchorInBucket(): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), "custody-object-lock-"));
  try {
    const program = findServer(directory);
    if (program === undefined) {
      const why =
        "no versitygw on the path; it is built with Go at full size (CUSTODY_CI_SIZE=full)";
      return skip("anchors in a bucket with object lock", why);
    }
    const key = { id: systemRandom(8).toString("hex"), secret: systemRandom(16).toString("hex") };
    const { server, url } = await startServer(program, directory, key);
    try {
      const bucket = { url: `${url}/anchors`, key };
      const made = await ask(bucket, "PUT", "", { "x-amz-bucket-object-lock-enabled": "true" });
      report("a bucket with object lock is made", made === 200, `status ${made}`);
      if (made === 200) await useBucket(bucket, directory);
    } finally {
      server.kill();
      await once(server, "exit");
    }
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

function findServer(directory: string): string | undefined {
  if (has("versitygw", "--version")) return "versitygw";
  if (process.env.CUSTODY_CI_SIZE !== "full" || !has("go", "version")) return undefined;
  const environment = { ...process.env, GOBIN: directory };
  const built = spawnSync("go", ["install", SERVER], { env: environment, encoding: "utf8" });
  if (built.status === 0) return join(directory, "versitygw");
  console.log(built.stderr);
  return undefined;
}

async function startServer(
  program: string,
  directory: string,
  key: Bucket["key"],
): Promise<{ server: ChildProcess; url: string }> {
  const port = await freePort();
  for (const name of ["objects", "versions", "iam"]) mkdirSync(join(directory, name));
  const args = ["--port", `127.0.0.1:${port}`, "--access", key.id, "--secret", key.secret];
  args.push("--iam-dir", join(directory, "iam"), "--quiet", "posix");
  args.push("--versioning-dir", join(directory, "versions"), join(directory, "objects"));
  const server = spawn(program, args, { stdio: ["ignore", "inherit", "inherit"] });
  const url = `http://127.0.0.1:${port}`;
  for (let attempt = 0; attempt < 300; attempt++) {
    const isUp = await fetch(url).then(
      () => true,
      () => false,
    );
    if (isUp) return { server, url };
    if (server.exitCode !== null) break;
    await delay(100);
  }
  server.kill();
  throw new Error("versitygw does not start");
}

async function useBucket(bucket: Bucket, directory: string): Promise<void> {
  const logKey = loadLogKey(directory, systemRandom, { origin: "log.example/object-lock" });
  const logDirectory = join(directory, "log");
  mkdirSync(logDirectory);
  const problems: string[] = [];
  const forks: string[] = [];
  await using outbound = createOutbound(undefined, 10_000);
  const key = async () => bucket.key;
  const settings = { ...bucket, region: REGION, retainMs: DAY_MS, outbound, clock: systemClock };
  const store = s3Anchors({ ...settings, key });
  const deps: AnchoringDeps = {
    ...{ logDirectory, key: logKey, stores: [store], timeStamps: undefined, random: systemRandom },
    ...{ everyMs: DAY_MS, onProblem: (said: string) => problems.push(said) },
    onFork: ({ message }) => forks.push(message),
  };
  const publish = (size: number, fill = size): string => {
    const root = new Uint8Array(32).fill(fill);
    const note = logKey.sign(formatCheckpoint({ origin: logKey.origin, size, root }));
    writeFileSync(join(logDirectory, "checkpoint"), note);
    return note;
  };
  const begin = "log.example_object-lock.";
  const name = (size: number) => `${begin}${String(size).padStart(16, "0")}.checkpoint`;
  await refuseIfAnchoredAhead(deps);
  await using anchoring = startAnchoring(deps);
  const first = publish(7);
  await anchoring.round();
  publish(12);
  await anchoring.round();
  report(
    "heads are anchored",
    anchoring.anchoredSize === 12 && problems.length === 0,
    problems.join(),
  );
  const isFirst = async () => (await store.read(name(7)))?.toString() === first;
  report("what lies there is the head", await isFirst());
  report("it is not written again", (await store.put(name(7), Buffer.from("x"))) === "exists");

  await ask(bucket, "PUT", `/${name(7)}`, {}, "overwritten by who has the key");
  report("what is put over it hides nothing", await isFirst());
  const version = await versionOf(bucket, name(7));
  const erased = await ask(bucket, "DELETE", `/${name(7)}?versionId=${version}`);
  report(`the locked version cannot be deleted (${erased})`, erased === 403 && (await isFirst()));
  const marked = await ask(bucket, "DELETE", `/${name(12)}`);
  const found = await store.after(name(7), begin);
  report(`a delete marker hides nothing (${marked})`, found === name(12), String(found));

  publish(7, 9);
  const again = startAnchoring(deps);
  await again.round();
  report("another head of the same size is a fork", forks.length === 1, forks.join());
  publish(3);
  const said = await refuseIfAnchoredAhead(deps).then(
    () => "it went on",
    (error: Error) => error.message,
  );
  report("a log that is behind is not gone on with", /has seen 7 of its records/.test(said), said);
  publish(12);
  await refuseIfAnchoredAhead(deps);
  await again[Symbol.asyncDispose]();

  problems.length = 0;
  const wrong = s3Anchors({ ...settings, key: async () => ({ ...bucket.key, secret: "wrong" }) });
  await refuseIfAnchoredAhead({ ...deps, stores: [wrong] });
  report("a wrong key is a problem that is named", /403/.test(problems.join()), problems.join());
}

/** The oldest. */
async function versionOf(bucket: Bucket, name: string): Promise<string> {
  const response = await request(bucket, "GET", `?versions=&prefix=${name}`);
  const ids = [...(await response.text()).matchAll(/<VersionId>([^<]+)</g)].map(([, id]) => id);
  return ids.at(-1) ?? "none";
}

async function ask(
  bucket: Bucket,
  method: string,
  path: string,
  headers: Record<string, string> = {},
  body = "",
): Promise<number> {
  const response = await request(bucket, method, path, headers, body);
  await response.arrayBuffer();
  return response.status;
}

function request(
  { url, key }: Bucket,
  method: string,
  path: string,
  headers: Record<string, string> = {},
  body = "",
): Promise<Response> {
  const target = new URL(`${url}${path}`);
  const signed = signAwsRequest({ method, url: target, headers, body }, key, REGION, Date.now());
  return fetch(target, { method, headers: signed, ...(body === "" ? {} : { body }) });
}
