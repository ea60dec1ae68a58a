// Mutation fuzzer of the SSH codec. Three properties: a decoder gives a value, which encodes and decodes to
// itself, or throws SshError; a packet reader gives the same for a stream in one piece and in many; and a
// connection in either role, given mutated messages at any point of its life, ends with an event or goes
// on, throws nothing, and never says more than it was asked.
//
//   node fuzz/ssh/decoders.ts --runs N --seed S
//
// Deterministic by seed (but for the keys of a connection); a failure prints the run and the bytes. Ends
// with a line `N passed, N failed, N skipped`.

import { generateKeyPairSync } from "node:crypto";
import { parseArgs } from "node:util";
import { ByteQueue } from "@custody/wire/ssh/byte-queue.ts";
import { SshConnection } from "@custody/wire/ssh/connection.ts";
import { SshError } from "@custody/wire/ssh/errors.ts";
import type { SshEvent } from "@custody/wire/ssh/events.ts";
import { PacketReader } from "@custody/wire/ssh/packets.ts";
import { SftpCursor } from "@custody/wire/ssh/sftp.ts";
import { SshTransport } from "@custody/wire/ssh/transport.ts";
import { type Random, seededRandom } from "../postgres/random.ts";
import { asJson, DECODERS, readVectors } from "./decoder-table.ts";

const { values } = parseArgs({
  options: {
    runs: { type: "string", default: "100000" },
    seed: { type: "string", default: "1" },
  },
});
const runs = Number(values.runs);
const random = seededRandom(Number(values.seed));
const MAX_RUN_MS = 500;
/** Of many runs one is a whole connection, which costs a key exchange. */
const CONNECTION_EVERY = 100;

const corpus = (["valid", "invalid"] as const).flatMap((folder) =>
  readVectors(folder).map(({ decoder, hex }) => ({ decoder, bytes: Buffer.from(hex, "hex") })),
);
const readByName = readVectors("valid");
const messages = corpus
  .filter(({ decoder }) => /^(userauth|pkOk|info|banner|service)/.test(decoder))
  .map(({ bytes }) => bytes);
/** Of the connection protocol, as far as they are in order for channel 0. */
const channelMessages = [
  ...readByName
    .filter(({ decoder }) => /^(channel|global)/.test(decoder))
    .map(({ hex }) => Buffer.from(hex, "hex")),
  ...["5e0000000000000003616263", "5f000000000000000100000003616263"],
  "5d0000000000001000",
].map((one) => (typeof one === "string" ? Buffer.from(one, "hex") : one));
/** After these most others are out of order. */
const rareMessages = [
  ...messages,
  ...["5d00000000ffffffff", "6000000000", "6100000000", "6300000000"].map((hex) =>
    Buffer.from(hex, "hex"),
  ),
];
const decoders = Object.keys(DECODERS);
const hostKey = generateKeyPairSync("ed25519").privateKey;
let failed = 0;

for (let run = 0; run < runs; run++) {
  const original = random.pick(corpus);
  const bytes = mutated(random, original.bytes);
  const decoder = random.chance(0.1) ? random.pick(decoders) : original.decoder;
  const before = process.cpuUsage();
  let problem: string | undefined;
  if (run % CONNECTION_EVERY === 0) problem = connectionProblem();
  else if (run % 8 === 0) problem = streamProblem(bytes);
  else problem = decoderProblem(decoder, bytes);
  // Of the processor, not of the clock: the machine may be busy with others.
  const { user, system } = process.cpuUsage(before);
  const tookMs = (user + system) / 1000;
  const slow = tookMs > MAX_RUN_MS ? `took ${Math.round(tookMs)} ms` : undefined;
  if (problem === undefined && slow === undefined) continue;
  failed++;
  console.log(`run ${run}: ${problem ?? slow}\n  ${bytes.toString("hex")}`);
}
console.log(`${runs - failed} passed, ${failed} failed, 0 skipped`);
process.exitCode = failed === 0 ? 0 : 1;

interface Outcome {
  readonly value?: unknown;
  /** The SshError's code. */
  readonly refused?: string;
  readonly fault?: string;
}

function outcome(attempt: () => unknown): Outcome {
  try {
    return { value: attempt() };
  } catch (error) {
    if (error instanceof SshError) return { refused: error.code };
    return { fault: `threw ${String(error)}` };
  }
}

function decoderProblem(name: string, bytes: Buffer): string | undefined {
  const codec = DECODERS[name]!;
  const first = outcome(() => codec.decode(bytes));
  if (first.fault !== undefined) return `${name}: ${first.fault}`;
  // Amid other bytes: what lies outside must not matter.
  const around = Buffer.concat([Buffer.alloc(9, 0x55), bytes, Buffer.alloc(300, 0x00)]);
  const second = outcome(() => codec.decode(around.subarray(9, 9 + bytes.length)));
  if (second.refused !== first.refused) return `${name}: depends on bytes outside the message`;
  if (first.refused !== undefined || codec.encode === undefined) return undefined;
  const again = outcome(() => codec.decode(codec.encode!(first.value, bytes)));
  if (again.value === undefined) return `${name}: what was decoded cannot be encoded`;
  if (JSON.stringify(asJson(again.value)) !== JSON.stringify(asJson(first.value))) {
    return `${name}: encodes to something else`;
  }
  return undefined;
}

/** Packets, and SFTP packets, of a stream in random chunks: the same as in one piece. */
function streamProblem(bytes: Buffer): string | undefined {
  const pieces: Buffer[] = [];
  for (let at = 0; at < bytes.length; ) {
    const size = 1 + random.below(random.chance(0.5) ? 4 : bytes.length);
    pieces.push(bytes.subarray(at, at + size));
    at += size;
  }
  for (const [name, read] of [
    ["packets", packetsOf],
    ["SFTP", sftpPacketsOf],
  ] as const) {
    const whole = read([bytes]);
    const split = read(pieces);
    if (whole.outcome.fault !== undefined) return `${name}: ${whole.outcome.fault}`;
    if (whole.outcome.refused !== split.outcome.refused) {
      return `${name}: ${whole.outcome.refused}, split: ${split.outcome.refused}`;
    }
    if (whole.packets.join() !== split.packets.join()) return `${name}: others when split`;
  }
  return undefined;
}

function packetsOf(chunks: readonly Buffer[]): { packets: string[]; outcome: Outcome } {
  const input = new ByteQueue();
  const reader = new PacketReader(input, 4096);
  return drained(chunks, (chunk) => input.push(chunk), reader);
}

function sftpPacketsOf(chunks: readonly Buffer[]): { packets: string[]; outcome: Outcome } {
  const cursor = new SftpCursor({ maxPacketBytes: 4096 });
  return drained(chunks, (chunk) => cursor.push(chunk), cursor);
}

function drained(
  chunks: readonly Buffer[],
  push: (chunk: Buffer) => void,
  source: { next(): Buffer | undefined },
): { packets: string[]; outcome: Outcome } {
  const packets: string[] = [];
  const result = outcome(() => {
    for (const chunk of chunks) {
      push(Buffer.from(chunk));
      for (let one = source.next(); one !== undefined; one = source.next()) {
        packets.push(one.toString("hex"));
      }
    }
  });
  return { packets, outcome: result };
}

/** A connection of ours against a peer that says mutated things, with good keys. */
function connectionProblem(): string | undefined {
  const isServer = random.chance(0.5);
  const common = { software: "fuzz", nowMs: () => 0 };
  const asServer = { ...common, role: "server" as const, hostKeys: [{ privateKey: hostKey }] };
  const asClient = { ...common, role: "client" as const, user: "web", hostKeyAccepted: () => true };
  const peer = new SshTransport(isServer ? asClient : asServer);
  const connection = new SshConnection(isServer ? asServer : asClient);
  const plan = [...openings(isServer), ...Array.from({ length: 30 }, () => mutatedMessage())];
  try {
    exchange(connection, peer);
    for (const message of plan) {
      peer.send(message);
      if (random.chance(0.02)) peer.rekey();
      exchange(connection, peer);
      if (connection.state === "over") break;
    }
  } catch (error) {
    return `connection: threw ${error instanceof Error ? error.stack : String(error)}`;
  }
  return undefined;
}

/** What brings a connection to a later state, most of the time. */
function openings(isServer: boolean): Buffer[] {
  const named = (decoder: string, pattern: RegExp): Buffer =>
    Buffer.from(
      readByName.find((one) => one.decoder === decoder && pattern.test(one.name))?.hex ?? "",
      "hex",
    );
  if (random.chance(0.2)) return [];
  if (!isServer) {
    const accept = Buffer.concat([Buffer.of(6), named("service", /^service/).subarray(1)]);
    return random.chance(0.2) ? [accept] : [accept, Buffer.of(52)];
  }
  const steps = [named("service", /^service/), named("userauthRequest", /^none$/)];
  return random.chance(0.2) ? steps.slice(0, 1) : [...steps, named("channelOpen", /session/)];
}

function mutatedMessage(): Buffer {
  const original = random.pick(random.chance(0.97) ? channelMessages : rareMessages);
  const message = random.chance(0.05) ? mutated(random, original) : Buffer.from(original);
  if (message.length === 0) return Buffer.of(random.below(256));
  // Channel numbers that exist bring the rest of the message under test.
  if (message[0]! >= 91 && message.length >= 5 && random.chance(0.98)) message.writeUInt32BE(0, 1);
  return message;
}

function exchange(connection: SshConnection, peer: SshTransport): void {
  for (let idle = false; !idle; ) {
    idle = true;
    for (let event = connection.next(); event !== undefined; event = connection.next()) {
      react(connection, event);
    }
    for (const piece of connection.takeOutput()) {
      idle = false;
      peer.push(Buffer.from(piece));
    }
    while (peer.next() !== undefined && connection.state !== "over") idle = false;
    for (const piece of peer.output.take()) {
      idle = false;
      connection.receive(Buffer.from(piece));
    }
    if (connection.state === "over") return;
  }
}

function react(connection: SshConnection, event: SshEvent): void {
  if (event.kind === "auth-request" || event.kind === "auth-answers") {
    if (random.chance(0.95)) connection.acceptAuth();
    else connection.rejectAuth(["publickey"]);
  }
  if (event.kind === "auth-wanted") connection.authenticateNone();
  if (event.kind === "auth-prompts") {
    connection.answerPrompts(event.prompts.prompts.map(() => Buffer.from("x")));
  }
  if (event.kind === "authenticated" && random.chance(0.2)) {
    connection.openChannel({ kind: "session" });
    connection.requestGlobal({ kind: "keepalive@openssh.com" }, "tag");
  }
  if (event.kind === "channel-open") connection.acceptChannel(event.channel);
  if (event.kind === "channel-data") connection.consumed(event.channel, event.data.length);
  if (event.kind === "channel-request" && event.reply !== undefined) {
    connection.replyChannel(event.channel, event.reply, random.chance(0.5));
    connection.sendData(event.channel, Buffer.alloc(100));
  }
  if (event.kind === "global-request" && event.reply !== undefined) {
    connection.replyGlobal(event.reply, random.chance(0.5));
  }
}

function mutated(from: Random, original: Buffer): Buffer {
  let bytes: Buffer = Buffer.from(original);
  const times = from.below(4);
  for (let time = 0; time < times; time++) bytes = mutatedOnce(from, bytes);
  return Buffer.from(bytes);
}

function mutatedOnce(from: Random, bytes: Buffer): Buffer {
  const at = from.below(bytes.length + 1);
  switch (from.below(7)) {
    case 0:
      return bytes.subarray(0, at);
    case 1:
      return Buffer.concat([
        bytes.subarray(0, at),
        from.pick(corpus).bytes.subarray(0, from.below(64)),
      ]);
    case 2:
      return Buffer.concat([bytes.subarray(0, at), Buffer.of(0x00), bytes.subarray(at)]);
    case 3:
      return Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + 1)]);
    case 4:
      if (bytes.length >= 4) {
        const lengths = [0, 1, 4, 0x7fffffff, 0x80000000, 0xffffffff, bytes.length];
        bytes.writeUInt32BE(from.pick(lengths), from.below(bytes.length - 3));
      }
      return bytes;
    default:
      if (bytes.length > 0) bytes[from.below(bytes.length)] = from.below(256);
      return bytes;
  }
}
