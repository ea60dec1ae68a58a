// Channels: windows, order, ends, and peers that keep to none of it.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import test from "node:test";
import fc from "fast-check";
import { encodeService, encodeUserauthRequest } from "./auth-messages.ts";
import type { ConnectionEvent, SshEvent } from "./events.ts";
import {
  booleanField,
  byteField,
  SshReader,
  stringField,
  textField,
  uint32Field,
} from "./fields.ts";
import { MSG } from "./numbers.ts";
import {
  type BareEnd,
  bareClient,
  type ConnectionEnd,
  clientEnd,
  failure,
  serverEnd,
  settle,
} from "./pair-harness.ts";
import {
  decodeChannelOpen,
  decodeChannelRequest,
  decodeGlobalRequest,
  encodeChannelOpen,
  encodeChannelRequest,
  encodeGlobalRequest,
} from "./request-codec.ts";
import { type ChannelOpen, type ChannelRequest, type GlobalRequest, STDERR } from "./requests.ts";

interface Pair {
  readonly server: ConnectionEnd;
  readonly client: ConnectionEnd;
  go(): void;
  open(): { readonly ours: number; readonly theirs: number };
}

/** Client and server of ours, logged in. */
function pair(serverOptions: Parameters<typeof serverEnd>[0] = {}): Pair {
  const server = serverEnd(serverOptions);
  const client = clientEnd();
  const go = (): void => settle(client, server);
  go();
  return {
    server,
    client,
    go,
    open: () => {
      const ours = client.connection.openChannel({ kind: "session" });
      go();
      const opened = server.events.findLast((event) => event.kind === "channel-open");
      assert.ok(opened?.kind === "channel-open");
      return { ours, theirs: opened.channel };
    },
  };
}

function of<K extends ConnectionEvent["kind"]>(
  events: readonly SshEvent[],
  kind: K,
): Extract<ConnectionEvent, { kind: K }>[] {
  return events.filter((event) => event.kind === kind) as Extract<ConnectionEvent, { kind: K }>[];
}

test("data and extended data arrive whole, in order, cut to the peer's packets", () => {
  const { server, client, go, open } = pair();
  const { ours, theirs } = open();
  const data = randomBytes(100_000);
  assert.equal(client.connection.sendData(ours, data), data.length);
  client.connection.sendData(ours, Buffer.from("err"), STDERR);
  go();
  const got = of(server.events, "channel-data");
  assert.deepEqual(Buffer.concat(got.slice(0, -1).map((one) => one.data)), data);
  assert.ok(got.every((one) => one.data.length <= 32 * 1024 && one.channel === theirs));
  assert.equal(got.at(-1)?.stream, STDERR);
  assert.equal(got.at(-1)?.data.toString(), "err");
});

test("nothing goes beyond the window, and consuming opens it again", () => {
  const limits = { windowBytes: 80_000, maxDataBytes: 10_000 };
  const { server, client, go, open } = pair({ limits });
  const { ours, theirs } = open();
  const data = randomBytes(200_000);
  let at = client.connection.sendData(ours, data);
  assert.equal(at, 80_000);
  assert.equal(client.connection.sendableBytes(ours), 0);
  assert.equal(client.connection.sendData(ours, data.subarray(at)), 0);
  go();
  assert.equal(server.connection.unconsumedBytes(theirs), 80_000);
  assert.equal(of(client.events, "channel-writable").length, 0);
  // Less than an eighth is not worth a message.
  server.connection.consumed(theirs, 9_000);
  go();
  assert.equal(client.connection.sendableBytes(ours), 0);
  server.connection.consumed(theirs, 1_000);
  go();
  assert.equal(of(client.events, "channel-writable").length, 1);
  assert.equal(client.connection.sendableBytes(ours), 10_000);
  while (at < data.length) {
    at += client.connection.sendData(ours, data.subarray(at));
    go();
    server.connection.consumed(theirs, server.connection.unconsumedBytes(theirs));
    go();
  }
  const got = of(server.events, "channel-data").map((one) => one.data);
  assert.deepEqual(Buffer.concat(got), data);
  assert.throws(() => server.connection.consumed(theirs, 1), { code: "state" });
});

test("an open that is answered late, or refused, or too many", () => {
  const server = serverEnd({ limits: { maxChannels: 2 } }, (event, connection) => {
    if (event.kind === "auth-request" && event.attempt.method === "publickey") {
      connection.acceptAuth();
    } else if (event.kind === "auth-request") connection.rejectAuth(["publickey"]);
  });
  const client = clientEnd();
  settle(client, server);
  const ids = [1, 2, 3].map(() => client.connection.openChannel({ kind: "session" }));
  settle(client, server);
  assert.deepEqual(
    of(client.events, "channel-refused").map(({ channel, reason }) => [channel, reason]),
    [[ids[2], 4]],
  );
  assert.throws(() => client.connection.sendData(ids[0]!, Buffer.alloc(1)), { code: "state" });
  const [first, second] = of(server.events, "channel-open").map(({ channel }) => channel);
  server.connection.acceptChannel(first!);
  server.connection.refuseChannel(second!, 1, "not you");
  settle(client, server);
  assert.equal(of(client.events, "channel-opened")[0]?.channel, ids[0]);
  assert.equal(of(client.events, "channel-refused")[1]?.text, "not you");
  assert.throws(() => server.connection.acceptChannel(first!), { code: "state" });
  assert.throws(() => server.connection.refuseChannel(second!, 1, ""), { code: "state" });
});

test("replies leave in the order of the requests, whenever they are given", () => {
  const { server, client, go, open } = pair();
  const { ours, theirs } = open();
  for (const name of ["a", "b", "c"]) {
    client.connection.requestChannel(ours, { kind: "exec", command: Buffer.from(name) }, name);
  }
  client.connection.requestGlobal({ kind: "tcpip-forward", host: Buffer.of(), port: 0 }, "x");
  client.connection.requestGlobal({ kind: "keepalive@openssh.com" }, "y");
  go();
  const slots = of(server.events, "channel-request").map((event) => event.reply!);
  server.connection.replyChannel(theirs, slots[2]!, true);
  server.connection.replyChannel(theirs, slots[1]!, false);
  go();
  assert.equal(of(client.events, "channel-reply").length, 0);
  server.connection.replyChannel(theirs, slots[0]!, true);
  go();
  assert.deepEqual(
    of(client.events, "channel-reply").map(({ tag, success }) => [tag, success]),
    [
      ["a", true],
      ["b", false],
      ["c", true],
    ],
  );
  assert.throws(() => server.connection.replyChannel(theirs, slots[0]!, true), { code: "state" });
  // The keepalive is answered inside, but not before what came before it.
  assert.equal(of(client.events, "global-reply").length, 0);
  const [forward] = of(server.events, "global-request");
  server.connection.replyGlobal(forward!.reply!, true, uint32Field(4022));
  go();
  assert.deepEqual(
    of(client.events, "global-reply").map(({ tag, success, data }) => [tag, success, data.length]),
    [
      ["x", true, 4],
      ["y", false, 0],
    ],
  );
});

test("half close, close, and what comes too late", () => {
  const { server, client, go, open } = pair();
  const { ours, theirs } = open();
  client.connection.sendData(ours, Buffer.from("in"));
  client.connection.sendEof(ours);
  client.connection.sendEof(ours);
  assert.throws(() => client.connection.sendData(ours, Buffer.from("more")), { code: "state" });
  go();
  assert.equal(of(server.events, "channel-eof").length, 1);
  server.connection.sendData(theirs, Buffer.from("out"));
  server.connection.requestChannel(theirs, { kind: "exit-status", status: 3 });
  server.connection.sendEof(theirs);
  server.connection.closeChannel(theirs);
  server.connection.closeChannel(theirs);
  assert.equal(server.connection.sendData(theirs, Buffer.from("late")), 0);
  go();
  assert.deepEqual(
    client.events.slice(-4).map(({ kind }) => kind),
    ["channel-data", "channel-request", "channel-eof", "channel-closed"],
  );
  assert.equal(server.events.at(-1)?.kind, "channel-closed");
  assert.equal(client.connection.sendData(ours, Buffer.from("late")), 0);
  client.connection.consumed(ours, 3);
  client.connection.closeChannel(ours);
  client.connection.requestChannel(ours, { kind: "shell" }, "tag");
  go();
  assert.equal(failure(server), undefined);
  assert.notEqual(open().ours, ours);
});

test("a channel closed before it is open, and data that comes behind our close", () => {
  const { server, client, go, open } = pair();
  const early = client.connection.openChannel({ kind: "session" });
  client.connection.closeChannel(early);
  go();
  assert.deepEqual(
    client.events.filter((event) => "channel" in event && event.channel === early),
    [{ kind: "channel-closed", channel: early }],
  );
  const { ours, theirs } = open();
  client.connection.closeChannel(ours);
  server.connection.sendData(theirs, Buffer.from("crossing"));
  server.connection.sendEof(theirs);
  go();
  assert.deepEqual(
    client.events
      .filter((event) => "channel" in event && event.channel === ours)
      .map((e) => e.kind),
    ["channel-opened", "channel-closed"],
  );
});

test("four thousand channels, each with its own window", () => {
  const { server, client, go } = pair({ limits: { windowBytes: 1000 } });
  const ids = Array.from({ length: 4000 }, () =>
    client.connection.openChannel({ kind: "session" }),
  );
  go();
  assert.equal(of(client.events, "channel-opened").length, 4000);
  for (const id of ids) assert.equal(client.connection.sendData(id, Buffer.alloc(1001)), 1000);
  go();
  assert.equal(of(server.events, "channel-data").length, 4000);
});

test("what may be unconsumed on many channels together is bounded, and given back by closing", () => {
  const { server, client, go } = pair();
  const opened = (): number[] => {
    const ids = Array.from({ length: 500 }, () =>
      client.connection.openChannel({ kind: "session" }),
    );
    go();
    return ids;
  };
  const sizes = (ids: readonly number[]): number[] =>
    ids.map((id) => client.connection.sendableBytes(id));
  const ids = opened();
  const windows = sizes(ids);
  assert.equal(windows[0], 2 * 1024 * 1024);
  assert.equal(windows.at(-1), 64 * 1024);
  const sum = windows.reduce((all, one) => all + one);
  assert.ok(sum < 64 * 1024 * 1024 + 500 * 64 * 1024, `${sum}`);
  for (const id of ids) client.connection.closeChannel(id);
  go();
  assert.equal(of(server.events, "channel-closed").length, 500);
  assert.deepEqual(sizes(opened()), windows);
});

/** A server of ours, and a client that can say anything, logged in, with channel 0 open. */
function hostile(options: Parameters<typeof serverEnd>[0] = {}): {
  server: ConnectionEnd;
  client: BareEnd;
  say(...messages: Buffer[]): void;
} {
  const server = serverEnd(options, (event, connection) => {
    if (event.kind === "auth-request") connection.acceptAuth();
    if (event.kind === "channel-open") connection.acceptChannel(event.channel);
  });
  const client = bareClient();
  settle(client, server);
  const say = (...messages: Buffer[]): void => {
    for (const message of messages) client.transport.send(message);
    settle(client, server);
  };
  say(encodeService(MSG.serviceRequest, "ssh-userauth"), encodeUserauthRequest("web", "none"));
  say(openMessage());
  assert.equal(failure(server), undefined);
  return { server, client, say };
}

function openMessage(
  name = "session",
  window = 1000,
  packet = 1000,
  more = Buffer.alloc(0),
): Buffer {
  const fields = [textField(name), uint32Field(7), uint32Field(window), uint32Field(packet), more];
  return Buffer.concat([byteField(MSG.channelOpen), ...fields]);
}

function message(number: number, ...fields: Buffer[]): Buffer {
  return Buffer.concat([byteField(number), uint32Field(0), ...fields]);
}

function requestMessage(name: string, reply: boolean, data = Buffer.alloc(0)): Buffer {
  return message(MSG.channelRequest, textField(name), booleanField(reply), data);
}

const SMALL = { limits: { windowBytes: 100, maxDataBytes: 60, maxUnanswered: 3 } };
const VIOLATIONS: Readonly<Record<string, readonly [readonly Buffer[], string]>> = {
  "data of a channel that is not": [
    [Buffer.concat([byteField(MSG.channelData), uint32Field(9), stringField(Buffer.of(1))])],
    "sequence",
  ],
  "data longer than it says": [
    [message(MSG.channelData, uint32Field(1), Buffer.alloc(2))],
    "trailing",
  ],
  "data shorter than it says": [
    [message(MSG.channelData, uint32Field(9), Buffer.alloc(2))],
    "truncated",
  ],
  "data without fields": [[Buffer.of(MSG.channelData, 0, 0)], "truncated"],
  "extended data without fields": [
    [message(MSG.channelExtendedData, Buffer.alloc(3))],
    "truncated",
  ],
  "extended data of type 0": [
    [message(MSG.channelExtendedData, uint32Field(0), stringField(Buffer.of(1)))],
    "syntax",
  ],
  "more data than a packet holds": [
    [message(MSG.channelData, stringField(Buffer.alloc(61)))],
    "limit",
  ],
  "more data than the window": [
    [1, 2].map(() => message(MSG.channelData, stringField(Buffer.alloc(60)))),
    "limit",
  ],
  "data behind the end": [
    [message(MSG.channelEof), message(MSG.channelData, stringField(Buffer.of(1)))],
    "sequence",
  ],
  "two ends": [[message(MSG.channelEof), message(MSG.channelEof)], "sequence"],
  "a message behind the close": [[message(MSG.channelClose), message(MSG.channelEof)], "sequence"],
  "a reply to nothing": [[message(MSG.channelSuccess)], "sequence"],
  "a global reply to nothing": [[Buffer.of(MSG.requestSuccess)], "sequence"],
  "an answer to an open nobody sent": [
    [message(MSG.channelOpenConfirmation, uint32Field(1), uint32Field(1), uint32Field(1))],
    "sequence",
  ],
  "a window too large": [[message(MSG.channelWindowAdjust, uint32Field(0xffffffff))], "limit"],
  "no room for data": [[openMessage("session", 10, 0)], "limit"],
  "a packet for every few bytes": [[openMessage("session", 10, 255)], "limit"],
  "bytes behind a session's open": [[openMessage("session", 1, 1, Buffer.of(0))], "trailing"],
  "too many requests without replies": [
    [1, 2, 3, 4].map(() => requestMessage("shell", true)),
    "limit",
  ],
  "an exec without a command": [[requestMessage("exec", true)], "truncated"],
  "bytes behind a command": [
    [requestMessage("exec", true, Buffer.concat([textField("ls"), Buffer.of(0)]))],
    "trailing",
  ],
  "a name that is none": [[requestMessage("ex ec", true)], "text"],
};
for (const [name, [messages, code]] of Object.entries(VIOLATIONS)) {
  test(`refused: ${name}`, () => {
    const { server, say } = hostile(SMALL);
    say(...messages);
    assert.equal(failure(server), code);
    assert.equal(server.connection.state, "over");
  });
}

test("numbers of the connection protocol nobody knows are answered, not fatal", () => {
  const { server, say } = hostile();
  say(Buffer.of(101), Buffer.of(127));
  assert.equal(failure(server), undefined);
});

test("requests nobody knows arrive with their data", () => {
  const { server, say } = hostile();
  say(requestMessage("new@example.com", false, Buffer.from("abc")));
  const last = of(server.events, "channel-request").at(-1);
  assert.deepEqual(last?.request, {
    kind: "other",
    name: "new@example.com",
    data: Buffer.from("abc"),
  });
  assert.equal(last.reply, undefined);
});

const size = { columns: 80, rows: 24, widthPixels: 0, heightPixels: 0 };
const bytes = (text: string): Buffer => Buffer.from(text);
const CHANNEL_REQUESTS: readonly ChannelRequest[] = [
  { kind: "pty-req", term: bytes("xterm"), size, modes: Buffer.of(0) },
  { kind: "env", name: bytes("LANG"), value: Buffer.of(0xff) },
  { kind: "shell" },
  { kind: "exec", command: Buffer.of(0xff, 0x00, 0x0a) },
  { kind: "subsystem", name: bytes("sftp") },
  { kind: "window-change", size },
  { kind: "xon-xoff", clientCanDo: true },
  { kind: "signal", signal: "INT" },
  { kind: "exit-status", status: 0xffffffff },
  {
    kind: "exit-signal",
    signal: "KILL",
    coreDumped: true,
    message: bytes("m"),
    language: bytes("en"),
  },
  { kind: "break", lengthMs: 500 },
  { kind: "x11-req", singleConnection: false, protocol: bytes("p"), cookie: bytes("c"), screen: 1 },
  { kind: "auth-agent-req@openssh.com" },
  { kind: "eow@openssh.com" },
  { kind: "keepalive@openssh.com" },
  { kind: "other", name: "x@example.com", data: bytes("d") },
];
const origin = { originHost: bytes("::1"), originPort: 1 };
const CHANNEL_OPENS: readonly ChannelOpen[] = [
  { kind: "session" },
  { kind: "direct-tcpip", host: bytes("db"), port: 5432, ...origin },
  { kind: "forwarded-tcpip", host: bytes(""), port: 0, ...origin },
  { kind: "x11", ...origin },
  { kind: "direct-streamlocal@openssh.com", path: bytes("/run/x") },
  { kind: "forwarded-streamlocal@openssh.com", path: bytes("/run/x") },
  { kind: "auth-agent@openssh.com" },
  { kind: "other", name: "x@example.com", data: bytes("d") },
];
const GLOBAL_REQUESTS: readonly GlobalRequest[] = [
  { kind: "tcpip-forward", host: bytes(""), port: 0 },
  { kind: "cancel-tcpip-forward", host: bytes("h"), port: 9 },
  { kind: "streamlocal-forward@openssh.com", path: bytes("/p") },
  { kind: "cancel-streamlocal-forward@openssh.com", path: bytes("/p") },
  { kind: "no-more-sessions@openssh.com" },
  { kind: "keepalive@openssh.com" },
  { kind: "hostkeys-00@openssh.com", keys: [bytes("a"), bytes("b")] },
  { kind: "hostkeys-prove-00@openssh.com", keys: [] },
  { kind: "other", name: "x@example.com", data: bytes("d") },
];

test("every request, written and read", () => {
  const name = (one: { kind: string; name?: unknown }): string =>
    one.kind === "other" ? String(one.name) : one.kind;
  for (const one of CHANNEL_REQUESTS) {
    const reader = new SshReader(encodeChannelRequest(one));
    assert.deepEqual(decodeChannelRequest(name(one), reader), one);
  }
  for (const one of CHANNEL_OPENS) {
    assert.deepEqual(decodeChannelOpen(name(one), new SshReader(encodeChannelOpen(one))), one);
  }
  for (const one of GLOBAL_REQUESTS) {
    assert.deepEqual(decodeGlobalRequest(name(one), new SshReader(encodeGlobalRequest(one))), one);
  }
});

test("any plan of sends, reads and new keys delivers every byte in order", () => {
  const step = fc.oneof(
    fc.record({ do: fc.constant("send" as const), bytes: fc.integer({ min: 1, max: 3000 }) }),
    fc.record({ do: fc.constant("consume" as const), bytes: fc.integer({ min: 1, max: 3000 }) }),
    fc.record({ do: fc.constant("rekey" as const), bytes: fc.integer({ min: 0, max: 1 }) }),
    fc.record({ do: fc.constant("deliver" as const), bytes: fc.constant(0) }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const { server, client, go, open } = pair({
        limits: { windowBytes: 4000, maxDataBytes: 700 },
      });
      const { ours, theirs } = open();
      const sent: Buffer[] = [];
      let left = Buffer.alloc(0);
      for (const one of steps) {
        if (one.do === "send") {
          const data = randomBytes(one.bytes);
          sent.push(data);
          left = Buffer.concat([left, data]);
        }
        left = left.subarray(client.connection.sendData(ours, left));
        const unread = server.connection.unconsumedBytes(theirs);
        if (one.do === "consume") server.connection.consumed(theirs, Math.min(unread, one.bytes));
        if (one.do === "rekey") (one.bytes % 2 === 0 ? server : client).connection.rekey();
        if (one.do === "deliver") go();
      }
      for (let round = 0; round < 200 && (round < 2 || left.length > 0); round++) {
        go();
        server.connection.consumed(theirs, server.connection.unconsumedBytes(theirs));
        left = left.subarray(client.connection.sendData(ours, left));
      }
      go();
      const got = of(server.events, "channel-data").map((event) => event.data);
      assert.deepEqual(Buffer.concat(got), Buffer.concat(sent));
    }),
    { numRuns: 60 },
  );
});
