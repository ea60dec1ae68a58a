// The transport against hostile peers and wires, without sockets.

import assert from "node:assert/strict";
import { createECDH, randomBytes } from "node:crypto";
import test from "node:test";
import fc from "fast-check";
import { SSH_ALGORITHMS } from "./algorithms.ts";
import { ByteQueue } from "./byte-queue.ts";
import { CIPHERS, MACS } from "./ciphers.ts";
import { byteField, mpintField, stringField, uint32Field } from "./fields.ts";
import { agree, decodeKexInit, encodeKexInit } from "./kex-init.ts";
import { KEX_METHODS } from "./kex-methods.ts";
import { MSG } from "./numbers.ts";
import { OutputQueue } from "./output-queue.ts";
import { PacketReader, PacketWriter } from "./packets.ts";
import {
  bareClient,
  bareServer,
  clientEnd,
  type End,
  failure,
  serverEnd,
  settle,
} from "./pair-harness.ts";
import { ed25519 } from "./peer-harness.ts";
import { SshTransport } from "./transport.ts";

const OTHER_KEY = ed25519();

/** A packet in plain text. */
function plainPacket(payload: Buffer): Buffer {
  const output = new OutputQueue();
  new PacketWriter(output).write(payload);
  return Buffer.concat(output.take());
}

const IGNORE = plainPacket(Buffer.concat([byteField(MSG.ignore), stringField(Buffer.alloc(3))]));

for (const kex of KEX_METHODS.map((one) => one.name)) {
  test(`two of ours agree with ${kex}`, () => {
    const server = serverEnd({ algorithms: { kex: [kex] } });
    const client = clientEnd();
    settle(client, server);
    assert.equal(server.connection.state, "open");
    assert.equal(client.connection.state, "open");
    assert.deepEqual(server.connection.sessionId, client.connection.sessionId);
    server.connection.rekey();
    settle(client, server);
    assert.equal(client.events.filter(({ kind }) => kind === "keyed").length, 2);
  });
}

test("in pieces of any size nothing changes", () => {
  for (const size of [1, 2, 7, 100]) {
    const server = serverEnd();
    const client = clientEnd();
    const pieces = (bytes: Buffer): Buffer[] => {
      const chunks: Buffer[] = [];
      for (let at = 0; at < bytes.length; at += size) chunks.push(bytes.subarray(at, at + size));
      return chunks;
    };
    settle(client, server, { toA: pieces, toB: pieces });
    assert.equal(client.connection.state, "open");
  }
});

for (const { name: cipher, authenticated } of CIPHERS) {
  for (const mac of authenticated ? [""] : MACS.map((one) => one.name)) {
    test(`a changed bit is noticed: ${cipher} ${mac}`, () => {
      const algorithms = mac === "" ? { cipher: [cipher] } : { cipher: [cipher], mac: [mac] };
      for (let round = 0; round < 24; round++) {
        const client = bareClient({ algorithms });
        const server = bareServer();
        settle(client, server);
        client.transport.send(Buffer.concat([byteField(MSG.channelData), randomBytes(60)]));
        const [sealed] = client.takeOutput();
        assert.ok(sealed !== undefined);
        const at = Math.floor((sealed.length * round) / 24);
        sealed[at]! ^= 1 << (round % 8);
        server.receive(sealed);
        // A length that is changed may make the reader wait for more; that more does not verify.
        server.receive(randomBytes(300_000));
        assert.throws(() => server.handle(), /SshError/);
        assert.ok(!server.got.some((one) => Buffer.isBuffer(one)), "something was delivered");
      }
    });
  }
}

test("a packet dropped, doubled or exchanged with the next is noticed", () => {
  for (const { name } of CIPHERS) {
    const changes: ((packets: Buffer[]) => Buffer[])[] = [
      ([, second, third]) => [second!, third!],
      ([first, second, third]) => [first!, first!, second!, third!],
      ([first, second, third]) => [second!, first!, third!],
    ];
    for (const change of changes) {
      const client = bareClient({ algorithms: { cipher: [name] } });
      const server = bareServer();
      settle(client, server);
      const packets = [1, 2, 3].map((number) => {
        client.transport.send(Buffer.of(MSG.channelData, number));
        return Buffer.concat(client.takeOutput());
      });
      server.receive(Buffer.concat([...change(packets), randomBytes(300_000)]));
      assert.throws(() => server.handle(), /SshError/);
    }
  }
});

/** The first bytes: up to the version's line end, and the rest. */
function afterVersion(bytes: Buffer): [Buffer, Buffer] {
  const at = bytes.indexOf("\r\n") + 2;
  return [bytes.subarray(0, at), bytes.subarray(at)];
}

test("Terrapin: a packet put in before, in or behind the first exchange ends it", () => {
  for (const victim of ["client", "server"] as const) {
    for (const place of ["before KEXINIT", "behind KEXINIT"] as const) {
      const server = serverEnd();
      const client = clientEnd();
      let done = false;
      const inject = (bytes: Buffer): Buffer[] => {
        if (done) return [bytes];
        const isVersion = bytes.subarray(0, 4).toString() === "SSH-";
        const [line, rest] = isVersion ? afterVersion(bytes) : [Buffer.alloc(0), bytes];
        if (rest.length === 0) return [bytes];
        done = true;
        if (place === "before KEXINIT") return [line, IGNORE, rest];
        const kexInitBytes = 4 + rest.readUInt32BE(0);
        return [line, rest.subarray(0, kexInitBytes), IGNORE, rest.subarray(kexInitBytes)];
      };
      settle(client, server, victim === "client" ? { toA: inject } : { toB: inject });
      assert.equal(
        failure(victim === "client" ? client : server),
        "sequence",
        `${victim} ${place}`,
      );
    }
  }
});

test("Terrapin: cutting the first packets under the keys away is noticed", () => {
  // The server's EXT_INFO and SERVICE_ACCEPT follow its NEWKEYS.
  const server = serverEnd();
  const client = clientEnd();
  let keyed = false;
  settle(client, server, {
    toA: (bytes) => {
      if (keyed) return [bytes];
      let at = bytes.subarray(0, 4).toString() === "SSH-" ? afterVersion(bytes)[0].length : 0;
      while (at < bytes.length) {
        const end = at + 4 + bytes.readUInt32BE(at);
        const number = bytes[at + 5];
        at = end;
        if (number !== MSG.newKeys) continue;
        keyed = true;
        // EXT_INFO under AES-GCM: its length is in the clear.
        const extInfoEnd = at + 4 + bytes.readUInt32BE(at) + 16;
        return [bytes.subarray(0, at), bytes.subarray(extInfoEnd)];
      }
      return [bytes];
    },
  });
  assert.ok(keyed);
  assert.equal(failure(client), "integrity");
});

test("without strict key exchange ChaCha20-Poly1305 is refused, AES-GCM goes on", () => {
  for (const [cipher, expected] of [
    ["chacha20-poly1305@openssh.com", "negotiation"],
    ["aes128-gcm@openssh.com", undefined],
  ] as const) {
    const server = serverEnd();
    const client = lenientClient(cipher);
    settle(client, server);
    assert.equal(failure(server), expected);
  }
});

test("each message of an exchange comes once, and NEWKEYS is alone", () => {
  const kex = KEX_METHODS.find((one) => one.name === "curve25519-sha256")!;
  const init = Buffer.concat([byteField(30), kex.field(kex.initiate().value)]);
  for (const [more, expected] of [
    [[], undefined],
    [[init], "sequence"],
    [[Buffer.of(MSG.newKeys, 0)], "sequence"],
    [["KEXINIT"], "sequence"],
  ] as const) {
    const server = serverEnd();
    const client = lenientClient("aes128-gcm@openssh.com", more);
    settle(client, server);
    assert.equal(failure(server), expected);
  }
});

/** A client that does not know strict key exchange: just far enough to get the server to NEWKEYS. */
function lenientClient(cipher: string, more: readonly (Buffer | "KEXINIT")[] = []): End {
  const kex = KEX_METHODS.find((one) => one.name === "curve25519-sha256")!;
  const kexInit = encodeKexInit(
    {
      ...decodeKexInit(ownKexInit()),
      kex: [kex.name],
      cipherToServer: [cipher],
      cipherToClient: [cipher],
    },
    Buffer.alloc(16),
  );
  const output = new OutputQueue();
  const writer = new PacketWriter(output);
  output.push(Buffer.from("SSH-2.0-lenient\r\n"));
  writer.write(kexInit);
  writer.write(Buffer.concat([byteField(MSG.ignore), stringField(Buffer.alloc(1))]));
  writer.write(Buffer.concat([byteField(30), kex.field(kex.initiate().value)]));
  for (const message of more) writer.write(message === "KEXINIT" ? kexInit : message);
  return {
    receive: () => undefined,
    handle: () => undefined,
    takeOutput: () => output.take(),
  };
}

/** The KEXINIT a client of ours sends. */
function ownKexInit(): Buffer {
  const client = bareClient();
  client.takeOutput();
  client.receive(Buffer.from("SSH-2.0-x\r\n"));
  client.handle();
  const input = new ByteQueue();
  input.push(Buffer.concat(client.takeOutput()));
  return new PacketReader(input, 300_000).next()!;
}

test("what may not come in an exchange is refused", () => {
  for (const number of [MSG.channelData, MSG.userauthRequest, MSG.serviceRequest, MSG.extInfo]) {
    const server = serverEnd();
    server.receive(Buffer.from("SSH-2.0-x\r\n"));
    server.receive(plainPacket(Buffer.of(number, 0)));
    server.handle();
    assert.equal(failure(server), "sequence", `message ${number}`);
  }
  for (const payload of [
    Buffer.of(MSG.newKeys),
    Buffer.concat([byteField(30), stringField(Buffer.alloc(32))]),
    Buffer.concat([ownKexInit(), Buffer.of(0)]),
    ownKexInit().subarray(0, 40),
  ]) {
    const server = serverEnd();
    server.receive(Buffer.concat([Buffer.from("SSH-2.0-x\r\n"), plainPacket(payload)]));
    server.handle();
    assert.ok(failure(server) !== undefined);
  }
  // A second KEXINIT.
  const server = serverEnd();
  const twice = [plainPacket(ownKexInit()), plainPacket(ownKexInit())];
  server.receive(Buffer.concat([Buffer.from("SSH-2.0-x\r\n"), ...twice]));
  server.handle();
  assert.equal(failure(server), "sequence");
});

test("public values that cannot be are refused", () => {
  const p14 = KEX_METHODS.find((one) => one.name === "diffie-hellman-group14-sha256")!;
  const bad: Readonly<Record<string, readonly Buffer[]>> = {
    "curve25519-sha256": [
      Buffer.alloc(32),
      Buffer.concat([Buffer.of(1), Buffer.alloc(31)]),
      Buffer.from("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800", "hex"),
      Buffer.alloc(31, 9),
      Buffer.alloc(33, 9),
      Buffer.alloc(0),
    ],
    "ecdh-sha2-nistp256": [
      Buffer.concat([Buffer.of(4), Buffer.alloc(64)]),
      Buffer.concat([Buffer.of(4), randomBytes(64)]),
      Buffer.concat([Buffer.of(2), randomBytes(32)]),
      hybridPoint(),
      Buffer.of(0),
    ],
    "diffie-hellman-group14-sha256": [
      Buffer.alloc(0),
      Buffer.of(1),
      ...[0n, -1n].map((less) => primeMinus(less)),
      Buffer.alloc(600, 1),
    ],
    "mlkem768x25519-sha256": [
      Buffer.alloc(1184 + 32),
      Buffer.alloc(1184 + 32, 0xff),
      Buffer.alloc(1184 + 31, 1),
    ],
  };
  for (const [name, values] of Object.entries(bad)) {
    const method = KEX_METHODS.find((one) => one.name === name)!;
    for (const value of values) {
      assert.throws(() => method.respond(value), { code: "exchange" }, `${name} ${value.length}`);
      assert.throws(() => method.initiate().finish(value), { code: "exchange" });
    }
  }
  assert.equal(p14.initiate().value.length > 200, true);
});

/** A point of the curve in the form that OpenSSL takes and SSH does not (X9.62, "hybrid"). */
function hybridPoint(): Buffer {
  const pair = createECDH("prime256v1");
  pair.generateKeys();
  return pair.getPublicKey(null, "hybrid");
}

// RFC 3526 section 3: p, and p − 1.
function primeMinus(less: bigint): Buffer {
  const hex =
    "ffffffffffffffffc90fdaa22168c234c4c6628b80dc1cd129024e088a67cc74020bbea63b139b22514a08798e3404dd" +
    "ef9519b3cd3a431b302b0a6df25f14374fe1356d6d51c245e485b576625e7ec6f44c42e9a637ed6b0bff5cb6f406b7ed" +
    "ee386bfb5a899fa5ae9f24117c4b1fe649286651ece45b3dc2007cb8a163bf0598da48361c55d39a69163fa8fd24cf5f" +
    "83655d23dca3ad961c62f356208552bb9ed529077096966d670c354e4abc9804f1746c08ca18217c32905e462e36ce3b" +
    "e39e772c180e86039b2783a2ec07a28fb5c55df06f4c52c9de2bcbf6955817183995497cea956ae515d2261898fa0510" +
    "15728e5a8aacaa68ffffffffffffffff";
  return Buffer.from((BigInt(`0x${hex}`) + less).toString(16), "hex");
}

test("packets that cannot be are refused, and none is waited for beyond the limit", () => {
  const reading = (bytes: Buffer): unknown => {
    const input = new ByteQueue();
    input.push(bytes);
    return new PacketReader(input, 1000).next();
  };
  const packet = (length: number, padding: number, size = length): Buffer =>
    Buffer.concat([uint32Field(length), Buffer.of(padding), Buffer.alloc(Math.max(0, size - 1))]);
  assert.throws(() => reading(packet(0, 0)), { code: "packet" });
  assert.throws(() => reading(packet(5, 4)), { code: "packet" });
  assert.throws(() => reading(packet(13, 4)), { code: "packet" });
  assert.throws(() => reading(packet(12, 3)), { code: "packet" });
  assert.throws(() => reading(packet(12, 11)), { code: "packet" });
  assert.throws(() => reading(packet(12, 255)), { code: "packet" });
  assert.throws(() => reading(uint32Field(1004)), { code: "limit" });
  assert.throws(() => reading(uint32Field(0xffffffff)), { code: "limit" });
  assert.equal(reading(uint32Field(996)), undefined);
  assert.deepEqual(reading(packet(12, 10)), Buffer.alloc(1));
});

test("what comes before and in a version line", () => {
  const versionOf = (role: "client" | "server", bytes: string | Buffer): string | undefined => {
    const end = role === "server" ? serverEnd() : clientEnd();
    end.receive(Buffer.from(bytes));
    end.handle();
    return failure(end);
  };
  for (const good of [
    "SSH-2.0-x\r\n",
    "SSH-2.0-x\n",
    "SSH-2.0-x some comment\r\n",
    "SSH-1.99-x\r\n",
  ]) {
    assert.equal(versionOf("server", good), undefined, good);
  }
  for (const bad of ["SSH-1.5-x\r\n", "SSH-2.0-\r\n", "SSH-2.0-\x07\r\n", "SSH-2.0-\u00fc\r\n"]) {
    assert.equal(versionOf("server", bad), "version", bad);
  }
  assert.equal(versionOf("server", "GET / HTTP/1.1\r\n"), "version");
  assert.equal(versionOf("server", "G"), "version");
  assert.equal(versionOf("server", "\x16\x03\x01"), "version");
  assert.equal(versionOf("server", `SSH-2.0-${"x".repeat(300)}`), "limit");
  assert.equal(versionOf("server", "hello\r\nSSH-2.0-x\r\n"), "version");
  assert.equal(versionOf("client", "hello\r\nthere\nSSH-2.0-x\r\n"), undefined);
  assert.equal(versionOf("client", "x".repeat(8192)), "limit");
  assert.equal(versionOf("client", `${"x\n".repeat(5000)}`), "version");
});

test("a host key that is refused, in the first or a later exchange, gets no keys", () => {
  let exchanges = 0;
  const client = clientEnd({ hostKeyAccepted: () => ++exchanges < 2 });
  const server = serverEnd();
  settle(client, server);
  assert.equal(client.connection.state, "open");
  client.connection.rekey();
  settle(client, server);
  assert.equal(failure(client), "host-key");
  assert.equal(client.connection.state, "over");
});

test("a host that signs with another key than it shows is refused", () => {
  const server = serverEnd();
  const client = clientEnd();
  const other = serverEnd({ hostKeys: [{ privateKey: OTHER_KEY }] });
  // The reply's signature of another exchange: the middle has no part in this one.
  let reply: Buffer | undefined;
  settle(clientEnd(), other, {
    toA: (bytes) => {
      const found = packetWith(bytes, MSG.kexMethodReply);
      if (found !== undefined) reply = bytes.subarray(...found);
      return [bytes];
    },
  });
  settle(client, server, {
    toA: (bytes) => {
      const found = packetWith(bytes, MSG.kexMethodReply);
      if (found === undefined) return [bytes];
      return [bytes.subarray(0, found[0]), reply!, bytes.subarray(found[1])];
    },
  });
  assert.equal(failure(client), "exchange");
});

/** Where a plain packet with this message number is in the bytes. */
function packetWith(bytes: Buffer, number: number): [number, number] | undefined {
  let at = bytes.subarray(0, 4).toString() === "SSH-" ? bytes.indexOf("\r\n") + 2 : 0;
  while (at + 6 <= bytes.length) {
    const end = at + 4 + bytes.readUInt32BE(at);
    if (end > bytes.length) return undefined;
    if (bytes[at + 5] === number) return [at, end];
    at = end;
  }
  return undefined;
}

test("no algorithm in common, and a guess that was wrong", () => {
  const server = serverEnd({ algorithms: { cipher: ["aes256-ctr"] } });
  const client = clientEnd({ algorithms: { cipher: ["aes128-ctr"] } });
  settle(client, server);
  assert.equal(failure(client), "negotiation");
  const own = decodeKexInit(ownKexInit());
  const guess = { ...own, kex: ["ecdh-sha2-nistp256"], firstKexPacketFollows: true };
  assert.equal(agree(guess, own, "client").guessWasWrong, true);
  assert.equal(agree(own, guess, "client").guessWasWrong, false);
  const right = { ...own, firstKexPacketFollows: true };
  assert.equal(agree(right, own, "client").guessWasWrong, false);
});

test("the client's order decides", () => {
  const server = serverEnd({ algorithms: { cipher: ["aes128-ctr", "aes256-gcm@openssh.com"] } });
  const client = clientEnd({ algorithms: { cipher: ["aes256-gcm@openssh.com", "aes128-ctr"] } });
  settle(client, server);
  const [keyed] = client.events;
  assert.ok(keyed?.kind === "keyed");
  assert.equal(keyed.negotiated.sent.cipher, "aes256-gcm@openssh.com");
  assert.equal(keyed.negotiated.sent.mac, "");
});

test("new keys come by themselves, by bytes and by time, and messages of both sides survive", () => {
  let now = 0;
  const server = serverEnd({ limits: { rekeyBytes: 5000 } });
  const client = clientEnd({ nowMs: () => now, limits: { rekeyMs: 100 } });
  settle(client, server);
  const channel = client.connection.openChannel({ kind: "session" });
  settle(client, server);
  const sent: Buffer[] = [];
  for (let round = 0; round < 50; round++) {
    const data = randomBytes(400);
    sent.push(data);
    if (round === 10) now = 100;
    let left = data;
    while (left.length > 0) {
      left = left.subarray(client.connection.sendData(channel, left));
      settle(client, server);
    }
  }
  const received = server.events.flatMap((one) => (one.kind === "channel-data" ? [one.data] : []));
  assert.deepEqual(Buffer.concat(received), Buffer.concat(sent));
  const keyed = server.events.filter(({ kind }) => kind === "keyed").length;
  assert.ok(keyed >= 5, `${keyed} exchanges`);
});

test("a peer that asks without end and never answers a KEXINIT is left", () => {
  const asking = bareClient();
  const other = serverEnd({ limits: { rekeyBytes: 1000 } });
  settle(asking, other);
  const ping = Buffer.concat([byteField(MSG.ping), stringField(Buffer.alloc(30_000))]);
  let asked = 0;
  // The server's KEXINIT never arrives.
  while (failure(other) === undefined && asked < 100) {
    asking.transport.send(ping);
    asked++;
    for (const bytes of asking.takeOutput()) other.receive(bytes);
    other.handle();
    other.takeOutput();
  }
  assert.equal(failure(other), "limit");
  assert.ok(asked < 30, `${asked}`);
});

test("unknown messages are answered with UNIMPLEMENTED, ping with pong", () => {
  const answerTo = (message: Buffer): number => {
    const server = bareServer();
    const client = bareClient();
    settle(client, server);
    client.transport.send(message);
    for (const bytes of client.takeOutput()) server.receive(bytes);
    server.handle();
    return server.transport.output.bytes;
  };
  const ping = Buffer.concat([byteField(MSG.ping), stringField(Buffer.alloc(100))]);
  const pong = answerTo(ping);
  assert.ok(pong > 100 && pong < 160, `${pong}`);
  const unimplemented = answerTo(Buffer.of(9));
  assert.ok(unimplemented > 0 && unimplemented < 60, `${unimplemented}`);
  assert.equal(answerTo(Buffer.concat([byteField(MSG.ignore), stringField(Buffer.alloc(9))])), 0);
});

test("the peer's leaving is an event, and half a packet a fault", () => {
  const server = serverEnd();
  const client = clientEnd();
  settle(client, server);
  client.connection.disconnect(11, "done");
  settle(client, server);
  const last = server.events.at(-1);
  assert.deepEqual(last, { kind: "disconnected", reason: 11, text: "done" });
  assert.equal(server.connection.state, "over");
  assert.equal(server.connection.sendData(0, Buffer.alloc(1)), 0);
  const other = serverEnd();
  settle(clientEnd(), other);
  other.connection.inputEnded();
  other.handle();
  assert.equal(other.events.at(-1)?.kind, "disconnected");
  const half = serverEnd();
  half.receive(Buffer.from("SSH-2.0-x\r\n\0\0"));
  half.connection.inputEnded();
  half.handle();
  assert.equal(failure(half), "truncated");
});

test("options that cannot be are refused at once", () => {
  for (const algorithms of [{ cipher: ["3des-cbc"] }, { kex: [] }, { hostKey: ["ssh-rsa"] }]) {
    assert.throws(() => serverEnd({ algorithms }), { code: "syntax" });
  }
  assert.throws(() => serverEnd({ hostKeys: [] }), { code: "syntax" });
  assert.throws(() => serverEnd({ algorithms: { hostKey: ["rsa-sha2-512"] } }), { code: "syntax" });
  assert.throws(() => serverEnd({ software: "a b" }), { code: "syntax" });
  assert.throws(() => serverEnd({ software: "a-b" }), { code: "syntax" });
  assert.ok(SSH_ALGORITHMS.kex[0] === "mlkem768x25519-sha256");
  assert.ok(
    new SshTransport({
      role: "server",
      software: "x",
      hostKeys: [{ privateKey: OTHER_KEY }],
      nowMs: () => 0,
    }).blocked,
  );
});

test("mpints: written shortest, read back, other forms refused", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 40 }), (bytes) => {
      const field = mpintField(bytes);
      const value = BigInt(`0x0${Buffer.from(bytes).toString("hex")}`);
      const again = field.subarray(4);
      assert.equal(BigInt(`0x0${again.toString("hex")}`), value);
      assert.ok(again.length === 0 || (again[0]! & 0x80) === 0);
    }),
  );
});
