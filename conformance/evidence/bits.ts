// Every single bit of a small log and of a small recording changed, every record and every piece removed,
// doubled and exchanged: all of it is found, and what it is about is named. In full every bit; else so many at
// random.

import { randomInt } from "node:crypto";
import { cpSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { decodeBundle, encodeBundle } from "@custody/evidence/core/tile.ts";
import { commandDigest } from "@custody/evidence/node/command-digest.ts";
import { readPieces } from "@custody/evidence/node/recording-format.ts";
import type { RecordingSummary } from "@custody/evidence/node/recording-reader.ts";
import { verifyLog } from "@custody/evidence/node/verify.ts";
import { openJournal } from "@custody/gateway/audit/journal-writer.ts";
import { openLog } from "@custody/gateway/audit/log.ts";
import { systemClock } from "@custody/gateway/base/clock.ts";
import { systemRandom } from "@custody/gateway/base/ids.ts";
import { openRecorder } from "@custody/gateway/recording/recorder.ts";
import { loadRecordingKeys } from "@custody/gateway/recording/recording-keys.ts";
import { readRecording } from "@custody/gateway/recording/replay.ts";
import { report } from "./report.ts";
import { makeTwoShards, SHARDS, type TwoShards } from "./two-shards.ts";

const SESSION = "s-1";
const COMMANDS = 3;
const RANDOM_FLIPS = 1500;

interface Small {
  readonly data: string;
  readonly vkey: string;
  readonly summary: RecordingSummary;
}

export async function flipEveryBit(directory: string): Promise<void> {
  const small = await make(join(directory, "small"));
  const isFull = process.env.CUSTODY_CI_SIZE === "full";
  await flipLog(small, directory, isFull);
  await rearrangeLog(small, directory);
  const shards = await makeTwoShards(join(directory, "small-shards"), 2);
  await flipLog({ data: join(directory, "small-shards"), vkey: shards.vkey }, directory, isFull);
  await rearrangeShards(shards, directory);
  // The journal still has the pieces, and gives what a damaged file has not.
  rmSync(join(small.data, "journal"), { recursive: true });
  await flipRecording(small, isFull);
  await rearrangeRecording(small);
}

async function make(data: string): Promise<Small> {
  const onFailure = (error: Error): never => {
    throw error;
  };
  const journal = await openJournal({ directory: data, worker: 0, clock: systemClock, onFailure });
  const journals = [{ worker: 0, journal }];
  const log = await openLog({ dataDirectory: data, journals, onFailure, intervalMs: 10 });
  const keys = await loadRecordingKeys(data, systemRandom);
  const recorder = openRecorder(
    { journal, clock: systemClock, keys, random: systemRandom },
    { sessionId: SESSION, subject: "corp/1", data: {} },
  );
  const chain = [{ d: "d-1", s: "corp/1", k: "user", p: "attested" }] as const;
  journal.append({ event: "session.opened", session: SESSION, chain });
  for (let number = 0; number < COMMANDS; number++) {
    const about = { session: SESSION, request: `r-${number}`, chain };
    const command = commandDigest(`select ${number}`);
    recorder.command(`r-${number}`, `select ${number}`, undefined);
    journal.append({ ...about, event: "command.intent", decision: "permit", command });
    recorder.response(`r-${number}`, Buffer.from("row"));
    journal.append({ ...about, event: "command.outcome", outcome: "ok" });
    await journal.settled();
    await log.sync();
  }
  const summary = recorder.end();
  const detail = { pieces: summary.pieces, digest: summary.digest };
  journal.append({ event: "session.closed", session: SESSION, chain, detail });
  await journal[Symbol.asyncDispose]();
  await log[Symbol.asyncDispose]();
  return { data, vkey: log.vkey, summary };
}

/** Bits of a file of so many bytes to change. */
function* bits(bytes: number, all: boolean): Generator<number> {
  const count = bytes * 8;
  if (all) for (let bit = 0; bit < count; bit++) yield bit;
  else for (let done = 0; done < Math.min(count, RANDOM_FLIPS); done++) yield randomInt(count);
}

function flipped(intact: Buffer, bit: number): Buffer {
  const altered = Buffer.from(intact);
  altered[bit >> 3]! ^= 1 << (bit & 7);
  return altered;
}

async function flipLog(
  { data, vkey }: Pick<Small, "data" | "vkey">,
  directory: string,
  all: boolean,
): Promise<void> {
  const copy = join(directory, "flipped");
  rmSync(copy, { recursive: true, force: true });
  cpSync(join(data, "log"), copy, { recursive: true });
  const missed: string[] = [];
  let unnamed = 0;
  let count = 0;
  const files = readdirSync(copy, { recursive: true, withFileTypes: true }).filter((file) =>
    file.isFile(),
  );
  const total = files.reduce((sum, { parentPath, name }) => {
    return sum + readFileSync(join(parentPath, name)).length;
  }, 0);
  for (const { parentPath, name } of files) {
    const path = join(parentPath, name);
    const intact = readFileSync(path);
    // Spread over the files by their sizes.
    const share = all ? 1 : intact.length / total;
    for (const bit of bits(intact.length, all)) {
      if (!all && Math.random() > share) continue;
      count++;
      writeFileSync(path, flipped(intact, bit));
      const { problems } = await verifyLog(copy, { keys: [vkey] });
      if (problems.length === 0) missed.push(`${path}: bit ${bit}`);
      else if (
        !problems.some(({ message }) => /^(record \d|(\d{4}\/)?(checkpoint|tile\/))/.test(message))
      )
        unnamed++;
    }
    writeFileSync(path, intact);
  }
  report(
    `${count} bits of a log of ${total} bytes changed (${basename(data)}): each found`,
    missed.length === 0,
    missed.join("\n"),
  );
  report("each named: the record, the tile or the checkpoint", unnamed === 0, `${unnamed} are not`);
}

async function rearrangeLog({ data, vkey }: Small, directory: string): Promise<void> {
  const copy = join(directory, "rearranged");
  cpSync(join(data, "log"), copy, { recursive: true });
  const folder = join(copy, "tile", "entries", "000.p");
  const widest = readdirSync(folder).sort((a, b) => Number(b) - Number(a))[0] ?? "";
  const path = join(folder, widest);
  const intact = readFileSync(path);
  const { entries } = decodeBundle(intact, Number(widest));
  const missed: string[] = [];
  let count = 0;
  const check = async (what: string, changed: readonly Uint8Array[], at: number): Promise<void> => {
    count++;
    writeFileSync(path, encodeBundle(changed));
    const { problems } = await verifyLog(copy, { keys: [vkey] });
    // Whatever was moved, the first record that is not where it was is named.
    if (!problems.some(({ index }) => index === at)) missed.push(`${what} ${at}`);
  };
  for (let at = 0; at < entries.length; at++) {
    await check("removed", entries.toSpliced(at, 1), at);
    await check(
      "doubled",
      entries.toSpliced(at, 0, entries[at]!),
      at === entries.length - 1 ? at : at + 1,
    );
    for (let other = at + 1; other < entries.length; other++)
      await check("exchanged", entries.with(at, entries[other]!).with(other, entries[at]!), at);
  }
  writeFileSync(path, intact);
  report(
    `${count} times a record removed, doubled or exchanged: each found and named`,
    missed.length === 0,
    missed.join("\n"),
  );
}

/** Every file of a log in shards removed, and each in the place of its like in the other shard. */
async function rearrangeShards({ log, vkey }: TwoShards, directory: string): Promise<void> {
  const copy = join(directory, "rearranged-shards");
  const missed: string[] = [];
  let count = 0;
  const check = async (what: string, change: () => void): Promise<void> => {
    count++;
    rmSync(copy, { recursive: true, force: true });
    cpSync(log, copy, { recursive: true });
    change();
    const { problems } = await verifyLog(copy, { keys: [vkey] });
    if (!problems.some(({ message }) => /^(record \d{4}\/\d|\d{4}\/)/.test(message)))
      missed.push(what);
  };
  const [first, second] = SHARDS;
  for (const [shard, other] of [
    [first, second],
    [second, first],
  ] as const) {
    for (const kind of ["checkpoint", "tile/entries/000.p", "tile/0/000.p"]) {
      const file = join(shard, widest(log, shard, kind));
      await check(`${file} removed`, () => rmSync(join(copy, file)));
      await check(`${file} with what ${other} has`, () =>
        cpSync(join(log, other, widest(log, other, kind)), join(copy, file)),
      );
    }
    await check(`${shard} removed`, () => rmSync(join(copy, shard), { recursive: true }));
    await check(`${shard} in the place of ${other}`, () => {
      rmSync(join(copy, other), { recursive: true });
      cpSync(join(log, shard), join(copy, other), { recursive: true });
    });
  }
  await check("exchanged", () => {
    renameSync(join(copy, first), join(copy, "0000"));
    renameSync(join(copy, second), join(copy, first));
    renameSync(join(copy, "0000"), join(copy, second));
  });
  report(
    `${count} times a file or a shard removed or exchanged: each found and named`,
    missed.length === 0,
    missed.join("\n"),
  );
}

/** Of the forms of a tile that was not full yet, the one that the checkpoint is over. */
function widest(log: string, shard: string, kind: string): string {
  if (kind === "checkpoint") return kind;
  const widths = readdirSync(join(log, shard, kind)).map(Number);
  return join(kind, String(Math.max(...widths)));
}

async function replays({ data, summary }: Small): Promise<string | undefined> {
  const keys = await loadRecordingKeys(data, systemRandom);
  try {
    const deps = { dataDirectory: data, keys };
    for await (const event of readRecording(deps, SESSION, { summary })) void event;
    return undefined;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

async function flipRecording(small: Small, all: boolean): Promise<void> {
  const missed: string[] = [];
  let count = 0;
  for (const name of [`${SESSION}.rec`, `${SESSION}.key`]) {
    const path = join(small.data, "recordings", name);
    const intact = readFileSync(path);
    for (const bit of bits(intact.length, all)) {
      count++;
      writeFileSync(path, flipped(intact, bit));
      const said = await replays(small);
      if (said === undefined || !said.includes(SESSION))
        missed.push(`${name}: bit ${bit}: ${said}`);
    }
    writeFileSync(path, intact);
  }
  report(
    `${count} bits of a recording and its key changed: each found and named`,
    missed.length === 0,
    missed.join("\n"),
  );
}

async function rearrangeRecording(small: Small): Promise<void> {
  const path = join(small.data, "recordings", `${SESSION}.rec`);
  const intact = readFileSync(path);
  const { pieces } = readPieces(intact);
  const missed: string[] = [];
  let count = 0;
  const check = async (what: string, changed: readonly Buffer[]): Promise<void> => {
    count++;
    const framed = changed.flatMap((piece) => {
      const length = Buffer.alloc(4);
      length.writeUInt32BE(piece.length, 0);
      return [length, piece];
    });
    writeFileSync(path, Buffer.concat([intact.subarray(0, 8), ...framed]));
    const said = await replays(small);
    if (said === undefined || !said.includes(SESSION)) missed.push(`${what}: ${said}`);
  };
  for (let at = 0; at < pieces.length; at++) {
    await check(`piece ${at + 1} removed`, pieces.toSpliced(at, 1));
    await check(`piece ${at + 1} doubled`, pieces.toSpliced(at, 0, pieces[at]!));
    for (let other = at + 1; other < pieces.length; other++)
      await check(
        `pieces ${at + 1} and ${other + 1} exchanged`,
        pieces.with(at, pieces[other]!).with(other, pieces[at]!),
      );
  }
  writeFileSync(path, intact);
  report(
    `${count} times a piece removed, doubled or exchanged: each found and named`,
    missed.length === 0,
    missed.join("\n"),
  );
  report("and as it was it replays", (await replays(small)) === undefined);
}
