// How connections begin, byte by byte: TLS asked for or direct, GSSAPI asked for, protocol versions and cancel
// keys, what is refused. PostgreSQL docs, "Message Flow: Start-up".

import assert from "node:assert/strict";
import { once } from "node:events";
import { connect as connectTcp, type Socket } from "node:net";
import { after, before, test } from "node:test";
import { type ConnectionOptions, connect as connectTls } from "node:tls";
import {
  decodeBackendKeyData,
  decodeErrorFields,
  decodeNegotiateProtocolVersion,
} from "@custody/wire/postgres/backend.ts";
import { FrameCursor } from "@custody/wire/postgres/frames.ts";
import { password, query } from "@custody/wire/postgres/frontend.ts";
import {
  encodeCancelRequest,
  encodeGssRequest,
  encodeSslRequest,
  encodeStartup,
} from "@custody/wire/postgres/startup.ts";
import {
  startPostgres,
  type TestPostgres,
} from "../../../../conformance/support/postgres-server.ts";
import { type RelayHarness, startRelay } from "./relay-harness.ts";

let postgres: TestPostgres;
let relay: RelayHarness;

before(async () => {
  postgres = await startPostgres({ databases: ["shop"] });
  relay = await startRelay(postgres);
});

after(async () => {
  await relay?.[Symbol.asyncDispose]();
  await postgres?.[Symbol.asyncDispose]();
});

async function plain(): Promise<Socket> {
  const socket = connectTcp({ host: "127.0.0.1", port: relay.listener.port });
  socket.on("error", () => undefined);
  await once(socket, "connect");
  return socket;
}

async function secure(socket: Socket, options: ConnectionOptions = {}): Promise<Socket> {
  const inside = connectTls({ socket, ca: relay.ca, servername: "localhost", ...options });
  inside.on("error", () => undefined);
  await once(inside, "secureConnect");
  return inside;
}

async function oneByte(socket: Socket): Promise<string> {
  for (;;) {
    const byte: Buffer | null = socket.read(1);
    if (byte !== null) return byte.toString();
    await once(socket, "readable");
  }
}

/** By SSLRequest, as libpq does. */
async function asked(): Promise<Socket> {
  const socket = await plain();
  socket.write(encodeSslRequest());
  assert.equal(await oneByte(socket), "S");
  return secure(socket);
}

interface Told {
  readonly letters: string;
  readonly errors: readonly (string | undefined)[];
  readonly negotiated:
    | { readonly minor: number; readonly unrecognized: readonly string[] }
    | undefined;
  readonly key: { readonly processId: number; readonly key: Buffer } | undefined;
}

/** Everything up to `until`, or the end of the connection. */
async function told(socket: Socket, until: string): Promise<Told> {
  const cursor = new FrameCursor({ maxFrameBytes: 1 << 20 });
  const found = { letters: "", errors: [] as (string | undefined)[] };
  let negotiated: Told["negotiated"];
  let key: Told["key"];
  const read = () => {
    while (cursor.next()) {
      const { type, buffer, start, end } = cursor;
      const letter = String.fromCharCode(type);
      found.letters += letter;
      if (letter === "E") found.errors.push(decodeErrorFields(buffer, start, end).get("C"));
      if (letter === "v") negotiated = decodeNegotiateProtocolVersion(buffer, start, end);
      if (letter === "K") {
        const { processId, key: bytes } = decodeBackendKeyData(buffer, start, end);
        key = { processId, key: Buffer.from(bytes) };
      }
      if (letter === until) return true;
    }
    return false;
  };
  await new Promise<void>((resolve) => {
    const onData = (chunk: Buffer) => {
      cursor.push(chunk);
      if (read()) done();
    };
    const done = () => {
      socket.off("data", onData);
      socket.pause();
      resolve();
    };
    socket.on("data", onData);
    socket.once("close", done);
    socket.resume();
  });
  return { ...found, negotiated, key };
}

const PARAMETERS: readonly (readonly [string, string])[] = [
  ["user", "ro~orders"],
  ["database", "shop"],
];

async function signIn(
  socket: Socket,
  version: { major: number; minor: number },
  more: readonly (readonly [string, string])[] = [],
): Promise<Told> {
  socket.write(encodeStartup([...PARAMETERS, ...more], version));
  const first = await told(socket, "R");
  if (first.errors.length > 0) return first;
  socket.write(password("token"));
  const rest = await told(socket, "Z");
  return { ...rest, negotiated: first.negotiated };
}

test("TLS without asking, for who names PostgreSQL by ALPN", async () => {
  const socket = await secure(await plain(), { ALPNProtocols: ["postgresql"] });
  const { letters } = await signIn(socket, { major: 3, minor: 0 });
  assert.match(letters, /K?Z$/);
  socket.write(query("select 1"));
  assert.equal((await told(socket, "Z")).letters, "TDCZ");
  socket.destroy();
});

test("TLS without asking and without ALPN is something else's", async () => {
  const socket = await secure(await plain());
  assert.deepEqual((await told(socket, "?")).errors, ["08P01"]);
});

test("GSSAPI is not offered, TLS may be asked for after it", async () => {
  const socket = await plain();
  socket.write(encodeGssRequest());
  assert.equal(await oneByte(socket), "N");
  socket.write(encodeSslRequest());
  assert.equal(await oneByte(socket), "S");
  const inside = await secure(socket);
  assert.match((await signIn(inside, { major: 3, minor: 0 })).letters, /Z$/);
  inside.destroy();
});

for (const [name, request] of [
  ["SSLRequest", encodeSslRequest],
  ["GSSENCRequest", encodeGssRequest],
] as const)
  test(`what comes with ${name} in one piece is nobody's: the connection ends`, async () => {
    const socket = await plain();
    socket.write(Buffer.concat([request(), encodeStartup(PARAMETERS)]));
    const { letters, errors } = await told(socket, "Z");
    assert.doesNotMatch(letters, /[RZ]/);
    assert.deepEqual(errors, ["08P01"]);
  });

test("in plain text nothing is asked but that it be TLS", async () => {
  const socket = await plain();
  socket.write(encodeStartup(PARAMETERS));
  assert.deepEqual((await told(socket, "R")).errors, ["28000"]);
});

test("protocol 3.0 has a cancel key of four bytes, 3.2 one of 32, and each cancels", async () => {
  for (const [minor, bytes] of [
    [0, 4],
    [2, 32],
  ] as const) {
    const socket = await asked();
    const { key, negotiated } = await signIn(socket, { major: 3, minor });
    assert.equal(negotiated, undefined);
    assert.equal(key?.key.length, bytes);
    socket.write(query("select pg_sleep(20)"));
    await new Promise((resolve) => setTimeout(resolve, 200));
    const wrong = await asked();
    wrong.end(encodeCancelRequest(key.processId, Buffer.alloc(bytes, 1)));
    const cancelling = await asked();
    cancelling.end(encodeCancelRequest(key.processId, key.key));
    assert.deepEqual((await told(socket, "Z")).errors, ["57014"]);
    for (const one of [socket, wrong, cancelling]) one.destroy();
  }
});

test("a newer minor, one that never was, and extensions nobody knows are negotiated", async () => {
  for (const [minor, more, expected] of [
    [9, [], { minor: 2, unrecognized: [] }],
    [1, [], { minor: 0, unrecognized: [] }],
    [0, [["_pq_.trick", "on"]], { minor: 0, unrecognized: ["_pq_.trick"] }],
    [2, [["_pq_.trick", "on"]], { minor: 2, unrecognized: ["_pq_.trick"] }],
  ] as const) {
    const socket = await asked();
    const { negotiated, key, letters } = await signIn(socket, { major: 3, minor }, more);
    assert.deepEqual(negotiated, expected, `3.${minor}`);
    assert.equal(key?.key.length, expected.minor === 2 ? 32 : 4);
    assert.match(letters, /Z$/);
    socket.destroy();
  }
});

test("replication, settings that are pinned and unknown parameters end the start-up", async () => {
  for (const [name, value, state] of [
    ["replication", "perhaps", "22023"],
    ["search_path", "elsewhere", "22023"],
    ["options", "-c role=postgres", "22023"],
    ["options", "-c standard_conforming_strings=off", "22023"],
    ["client_encoding", "GBK", "22023"],
    ["shared_preload_libraries", "x", "22023"],
  ] as const) {
    const socket = await asked();
    const { errors } = await signIn(socket, { major: 3, minor: 0 }, [[name, value]]);
    assert.deepEqual(errors, [state], `${name}=${value}`);
    socket.destroy();
  }
});
