// Evidence of ours in tools of others. A log made by the gateway's journal and sequencer is verified by
// golang.org/x/mod/sumdb/{note,tlog} (signatures, root, every record, inclusion, consistency), altered copies
// are refused by it, and a note that Go signed is verified by us; proofs are held against those of
// transparency-dev/merkle, both ways; sealed recordings and casts are opened by stock age, zstd and asciinema;
// what opens them here passes age's test kit. What is not there is skipped, with the reason. Then every bit is
// flipped, every call fails, and all of it is killed.
//   npm run conformance:evidence -- [words: only the parts whose names contain one]
// Last line: `N passed, N failed, N skipped`.

import { spawnSync } from "node:child_process";
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseKey, verifyNote } from "@custody/evidence/core/note.ts";
import { verifyLog } from "@custody/evidence/node/verify.ts";
import { openJournal } from "@custody/gateway/audit/journal-writer.ts";
import { openLog } from "@custody/gateway/audit/log.ts";
import { systemClock } from "@custody/gateway/base/clock.ts";
import { runAgeKit } from "./age-kit.ts";
import { flipEveryBit } from "./bits.ts";
import { flipEveryBitOfBundle } from "./bundle-bits.ts";
import { injectFaults } from "./faults.ts";
import { killAtRandom } from "./kills.ts";
import { compareWithMerkle } from "./merkle.ts";
import { anchorInBucket } from "./object-lock.ts";
import { closingLine, has, hasFailed, report, skip } from "./report.ts";
import { openWithStockTools } from "./stock-tools.ts";
import { makeTwoShards, SHARDS } from "./two-shards.ts";

interface Made {
  readonly data: string;
  readonly log: string;
  readonly vkey: string;
  readonly older: string;
}

/** Enough records for tiles of level 1, in two checkpoints. */
async function makeLog(directory: string): Promise<Made> {
  const data = join(directory, "data");
  const onFailure = (error: Error): never => {
    throw error;
  };
  const journal = await openJournal({ directory: data, worker: 0, clock: systemClock, onFailure });
  const journals = [{ worker: 0, journal }];
  const log = await openLog({ dataDirectory: data, journals, onFailure, intervalMs: 10 });
  const chain = [{ d: "d-1", s: "corp/1", k: "user", p: "attested" }] as const;
  const session = "s-1";
  const older = join(directory, "older");
  journal.append({ event: "session.opened", session, chain });
  for (let number = 0; number < 1000; number++) {
    const about = { session, request: `r-${number}`, chain };
    journal.append({ ...about, event: "command.intent", decision: "permit", command: "x" });
    journal.append({ ...about, event: "command.outcome", outcome: "ok" });
    if (number !== 300) continue;
    await journal.settled();
    await log.sync();
    cpSync(join(log.directory, "checkpoint"), older);
  }
  await journal[Symbol.asyncDispose]();
  await log[Symbol.asyncDispose]();
  return { data, log: log.directory, vkey: log.vkey, older };
}

function alter(made: Made, directory: string, file: string, at: number): string {
  const copy = join(directory, `altered-${file.replaceAll("/", "-")}`);
  cpSync(made.log, copy, { recursive: true });
  const bytes = readFileSync(join(copy, file));
  bytes[at]! ^= 0x01;
  writeFileSync(join(copy, file), bytes);
  return copy;
}

async function run(directory: string): Promise<void> {
  const tool = join(directory, "verify");
  const build = spawnSync("go", ["build", "-o", tool, "."], {
    cwd: new URL("./go", import.meta.url),
    encoding: "utf8",
  });
  report("the Go verifier builds", build.status === 0, build.stderr);
  if (build.status !== 0) return;
  const go = (...args: string[]): { status: number | null; output: string } => {
    const { status, stdout, stderr } = spawnSync(tool, args, { encoding: "utf8" });
    return { status, output: stdout + stderr };
  };
  const made = await makeLog(directory);
  const ours = await verifyLog(made.log, { keys: [made.vkey] });
  report(
    `our verifier accepts the log of ${ours.size} records`,
    ours.ok,
    JSON.stringify(ours.problems),
  );
  const theirs = go(made.log, made.vkey, made.older);
  for (const line of theirs.output.trim().split("\n"))
    report(`Go: ${line}`, line.startsWith("ok "));
  for (const [file, at] of [
    ["checkpoint", 60],
    ["tile/entries/002", 4000],
    ["tile/0/003", 100],
    ["tile/1/000.p/7", 40],
  ] as const) {
    const copy = alter(made, directory, file, at);
    const refused = go(copy, made.vkey);
    report(
      `Go refuses a copy with one bit of ${file} changed`,
      refused.status === 1,
      refused.output,
    );
    const { problems } = await verifyLog(copy, { keys: [made.vkey] });
    report(`we refuse it: ${problems[0]?.message}`, problems.length > 0);
  }
  await runOnShards(directory, go);
  const text = "log.example/go\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n";
  const signed = go("sign", "log.example/go", text).output;
  const end = signed.indexOf("\n");
  const opened = await verifyNote(Buffer.from(signed.slice(end + 1)), [
    parseKey(signed.slice(0, end)),
  ]);
  report("we verify a note that Go signed", opened === text);
}

async function verifyIndependently(directory: string): Promise<void> {
  if (!has("go", "version"))
    return skip(
      "the independent verifiers",
      "there is no Go on the path, which they are written in",
    );
  await run(directory);
  await compareWithMerkle(join(directory, "verify"));
  await runAgeKit();
}

const PARTS: Readonly<Record<string, (directory: string) => Promise<void>>> = {
  independent: verifyIndependently,
  stock: openWithStockTools,
  bucket: anchorInBucket,
  bits: flipEveryBit,
  bundle: flipEveryBitOfBundle,
  faults: injectFaults,
  kills: killAtRandom,
};

const words = process.argv.slice(2);
/** Each shard is a log of its own to Go, with the one key under the shard's name; the seams are ours. */
async function runOnShards(
  directory: string,
  go: (...args: string[]) => { status: number | null; output: string },
): Promise<void> {
  const { log, vkey, vkeys } = await makeTwoShards(join(directory, "shards"), 300);
  const { ok, size, problems } = await verifyLog(log, { keys: [vkey] });
  report(`our verifier accepts two shards of ${size} records`, ok, JSON.stringify(problems));
  for (const [at, shard] of SHARDS.entries()) {
    const { output } = go(join(log, shard), vkeys[at]!);
    for (const line of output.trim().split("\n"))
      report(`Go, shard ${shard}: ${line}`, line.startsWith("ok "));
  }
  const other = go(join(log, SHARDS[1]), vkeys[0]);
  report("Go refuses a shard under the name of another", other.status === 1, other.output);
  const path = join(log, SHARDS[0], "tile", "entries", "000");
  const bytes = readFileSync(path);
  bytes[100]! ^= 0x01;
  writeFileSync(path, bytes);
  report(
    "Go refuses the first with one bit changed",
    go(join(log, SHARDS[0]), vkeys[0]).status === 1,
  );
}

const directory = mkdtempSync(join(tmpdir(), "custody-conformance-evidence-"));
try {
  for (const [name, part] of Object.entries(PARTS))
    if (words.length === 0 || words.some((word) => name.includes(word))) await part(directory);
} finally {
  rmSync(directory, { recursive: true, force: true });
}
console.log(closingLine());
process.exitCode = hasFailed() ? 1 : 0;
