// What anybody can send to the PostgreSQL port: garbage, cut off, too large, too slow, at every stage of
// a connection. Each ends with an error in the protocol's form where one can be sent, touches nobody
// else's session and reaches no target.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import { parse, password, query } from "@custody/wire/postgres/frontend.ts";
import {
  encodeCancelRequest,
  encodeGssRequest,
  encodeSslRequest,
  encodeStartup,
} from "@custody/wire/postgres/startup.ts";
import type pg from "pg";
import type { Group } from "./checks.ts";
import {
  assertNoInsides,
  lastError,
  openAsked,
  openPlain,
  openSecure,
  openSession,
  type RawClient,
  startup,
} from "./raw-client.ts";
import { hangUp, type Subject, type World } from "./world.ts";

interface Stimulus {
  readonly name: string;
  /** What is sent, at which stage. */
  readonly open: (subject: Subject) => Promise<RawClient>;
  readonly send: (client: RawClient) => Promise<void> | void;
  /** SQLSTATE of the FATAL; undefined: the connection ends without a word. */
  readonly state: string | undefined;
}

const plain = (subject: Subject) => openPlain(subject.gateway.postgres);
const GARBAGE = Buffer.from("deadbeef".repeat(64), "hex");

/** Length bytes of their own, then what follows. */
function frame(type: string, length: number, body: Buffer = Buffer.alloc(0)): Buffer {
  const head = Buffer.alloc(5);
  head.write(type, "latin1");
  head.writeInt32BE(length, 1);
  return Buffer.concat([head, body]);
}

const write = (bytes: Buffer) => (client: RawClient) => {
  client.socket.write(bytes);
};
const writeAndEnd = (bytes: Buffer) => (client: RawClient) => {
  client.socket.end(bytes);
};

async function slowly(client: RawClient, bytes: Buffer): Promise<void> {
  for (const byte of bytes) {
    if (client.socket.destroyed || client.socket.readableEnded) return;
    client.socket.write(Buffer.of(byte));
    await delay(1000);
  }
}

const STIMULI: readonly Stimulus[] = [
  { name: "garbage before TLS", open: plain, send: write(GARBAGE), state: "08P01" },
  {
    name: "an HTTP request",
    open: plain,
    send: write(Buffer.from("GET / HTTP/1.1\r\n\r\n")),
    state: "08P01",
  },
  {
    name: "a start-up packet of 2 GiB",
    open: plain,
    send: write(Buffer.from("7fffffff00030000", "hex")),
    state: "08P01",
  },
  {
    name: "a negative length",
    open: plain,
    send: write(Buffer.from("ffffffff00030000", "hex")),
    state: "08P01",
  },
  {
    name: "protocol 2",
    open: plain,
    send: write(Buffer.from("0000000800020000", "hex")),
    state: undefined,
  },
  {
    name: "a packet cut off",
    open: plain,
    send: writeAndEnd(Buffer.from("0000004000030000", "hex")),
    state: undefined,
  },
  { name: "nothing at all", open: plain, send: () => undefined, state: "08P01" },
  {
    name: "one byte a second",
    open: plain,
    send: (client) => slowly(client, encodeSslRequest()),
    state: "08P01",
  },
  {
    name: "a start-up in plain text",
    open: plain,
    send: write(encodeStartup([...startup()])),
    state: "28000",
  },
  {
    name: "bytes behind SSLRequest",
    open: plain,
    send: write(Buffer.concat([encodeSslRequest(), encodeStartup([...startup()])])),
    state: "08P01",
  },
  {
    name: "bytes behind GSSENCRequest",
    open: plain,
    send: write(Buffer.concat([encodeGssRequest(), encodeStartup([...startup()])])),
    state: "08P01",
  },
  {
    name: "encryption asked for again and again",
    open: plain,
    send: async (client) => {
      for (let count = 0; count < 4; count++) {
        client.socket.write(encodeGssRequest());
        await delay(30);
      }
    },
    state: undefined,
  },
  {
    name: "SSLRequest and then nothing",
    open: plain,
    send: write(encodeSslRequest()),
    state: undefined,
  },
  {
    name: "half a TLS handshake",
    open: plain,
    send: write(Buffer.from("16030101", "hex")),
    state: undefined,
  },
  {
    name: "garbage as a TLS record",
    open: plain,
    send: write(Buffer.concat([Buffer.from("1603010200", "hex"), randomBytes(512)])),
    state: undefined,
  },
  {
    name: "a cancel with an unknown key",
    open: plain,
    send: write(encodeCancelRequest(4711, randomBytes(32))),
    state: undefined,
  },
  {
    name: "SSLRequest inside TLS",
    open: openSecure,
    send: write(encodeSslRequest()),
    state: "08P01",
  },
  { name: "garbage inside TLS", open: openSecure, send: write(GARBAGE), state: "08P01" },
  { name: "nothing inside TLS", open: openSecure, send: () => undefined, state: "08P01" },
  {
    name: "a start-up without a user",
    open: openSecure,
    send: write(encodeStartup([["database", "x"]])),
    state: "22023",
  },
  {
    name: "a user name with a NUL's neighbours",
    open: openSecure,
    send: write(encodeStartup([...startup({ user: "suite\u202e\u001b[2J" })])),
    state: "3D000",
  },
  {
    name: "an unknown handle",
    open: openAsked,
    send: write(password("cst_nobody_nothing")),
    state: "28P01",
  },
  {
    name: "a query instead of a password",
    open: openAsked,
    send: write(query("select 1")),
    state: "08P01",
  },
  {
    name: "a password of 1 GiB",
    open: openAsked,
    send: write(frame("p", 1 << 30)),
    state: "08P01",
  },
  {
    name: "a password without an end",
    open: openAsked,
    send: write(frame("p", 8, Buffer.from("abcd"))),
    state: "08P01",
  },
  {
    name: "a query behind the password",
    open: openAsked,
    send: (client) => {
      client.socket.write(Buffer.concat([password("cst_x_y"), query("delete from items")]));
    },
    state: "08P01",
  },
  { name: "no password", open: openAsked, send: () => undefined, state: "08P01" },
  {
    name: "half a password, one byte a second",
    open: openAsked,
    send: (client) => slowly(client, password("cst_a_b")),
    state: "08P01",
  },
  {
    name: "an unknown message in a session",
    open: openSession,
    send: write(frame("~", 4)),
    state: "08P01",
  },
  {
    name: "a server's message in a session",
    open: openSession,
    send: write(frame("Z", 5, Buffer.from("I"))),
    state: "08P01",
  },
  {
    name: "a length of 2 GiB in a session",
    open: openSession,
    send: write(frame("Q", 0x7fffffff)),
    state: "08P01",
  },
  {
    name: "a negative length in a session",
    open: openSession,
    send: write(frame("Q", -1)),
    state: "08P01",
  },
  {
    name: "a length of 3 in a session",
    open: openSession,
    send: write(frame("Q", 3)),
    state: "08P01",
  },
  {
    name: "a query with no end",
    open: openSession,
    send: write(frame("Q", 12, Buffer.from("delete f"))),
    state: "08P01",
  },
  {
    name: "a query with two NULs",
    open: openSession,
    send: write(frame("Q", 15, Buffer.from("select 1\0\0\0"))),
    state: "08P01",
  },
  {
    name: "a query that is not UTF-8",
    open: openSession,
    send: write(frame("Q", 8, Buffer.from("fffefd00", "hex"))),
    state: "08P01",
  },
  {
    name: "a password in a session",
    open: openSession,
    send: write(password("again")),
    state: "08P01",
  },
  {
    name: "a Bind cut short",
    open: openSession,
    send: write(
      Buffer.concat([parse("", "select 1"), frame("B", 8, Buffer.from("00000001", "hex"))]),
    ),
    state: "08P01",
  },
  {
    name: "a Bind with a million parameters",
    open: openSession,
    send: write(
      Buffer.concat([
        parse("", "select 1"),
        frame("B", 12, Buffer.from("00000000ffff0000", "hex")),
      ]),
    ),
    state: "08P01",
  },
  {
    name: "garbage in a session",
    open: openSession,
    send: write(randomBytes(4096)),
    state: "08P01",
  },
];

export const badInput: Group = {
  name: "bad input",
  checks: [
    {
      name: `${STIMULI.length} kinds of it, each answered and none forwarded`,
      async run(world) {
        await using subject = await world.subject();
        const bystander = await subject.connect();
        const before = world.executed().length;
        const failures: string[] = [];
        await Promise.all(
          STIMULI.map(async (stimulus) => {
            try {
              await tryOut(subject, stimulus);
            } catch (error) {
              failures.push(`${stimulus.name}: ${(error as Error).message}`);
            }
          }),
        );
        assert.deepEqual(failures, []);
        assertOnlyOurs(world, before);
        await stillLively(subject, bystander);
      },
    },
  ],
};

async function tryOut(subject: Subject, stimulus: Stimulus): Promise<void> {
  const client = await stimulus.open(subject);
  const before = client.received().length;
  await stimulus.send(client);
  await client.ended();
  const answer = client.received().subarray(before);
  assertNoInsides(answer.toString("latin1"));
  if (stimulus.state === undefined) return;
  const error = lastError(answer);
  assert.equal(error?.get("C"), stimulus.state, error?.get("M"));
  assert.equal(error?.get("S"), "FATAL");
}

function assertOnlyOurs(world: World, before: number): void {
  const reached = world
    .executed()
    .slice(before)
    .filter((line) => /delete from items|deadbeef/i.test(line));
  assert.deepEqual(reached, []);
}

async function stillLively(subject: Subject, bystander: pg.Client): Promise<void> {
  assert.equal((await bystander.query("select 1 as one")).rows[0].one, 1);
  const fresh = await subject.connect();
  assert.equal((await fresh.query("select count(*)::int as n from items")).rows[0].n, 100);
  await hangUp(fresh);
  await hangUp(bystander);
  assert.doesNotMatch(subject.gateway.output(), /uncaught|unhandled/i);
}
