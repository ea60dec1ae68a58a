// How the gateway signs in at a target: against a server that says what the test wants it to, byte by byte.
// That real servers take it is tested wherever there is one.

import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { once } from "node:events";
import { type AddressInfo, createServer, type Socket } from "node:net";
import { after, before, test } from "node:test";
import { createSecureContext, TLSSocket } from "node:tls";
import {
  authenticationCleartextPassword,
  authenticationOk,
  authenticationSasl,
  authenticationSaslContinue,
  authenticationSaslFinal,
  backendKeyData,
  readyForQuery,
} from "@custody/wire/postgres/backend.ts";
import { decodeSaslInitialResponse, decodeSaslResponse } from "@custody/wire/postgres/frontend.ts";
import { scramVerifier } from "@custody/wire/postgres/scram.ts";
import { scramServer, scramServerFinal } from "@custody/wire/postgres/scram-server.ts";
import { createTestAuthority } from "../../../../conformance/support/certificates.ts";
import { systemRandom } from "../../base/ids.ts";
import { Secret } from "../../base/secret.ts";
import type { PostgresTarget } from "../../target/target.ts";
import { certificateHash } from "./certificate-hash.ts";
import { type MessageReader, readMessages } from "./message-reader.ts";
import { connectUpstream } from "./upstream.ts";

const PASSWORD = "a password of the target's";
const authority = createTestAuthority();
const context = createSecureContext(authority.issue(["localhost"]));

/** What the server does once it has TLS and the start-up packet. */
let behave: (reader: MessageReader, socket: TLSSocket) => Promise<void>;
const server = createServer((socket) => {
  socket.on("error", () => undefined);
  serve(socket).catch(() => socket.destroy());
});

before(async () => {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
});

after(() => {
  server.close();
});

async function serve(plain: Socket): Promise<void> {
  await once(plain, "readable");
  plain.read();
  plain.write("S");
  const socket = new TLSSocket(plain, {
    isServer: true,
    secureContext: context,
    ALPNProtocols: ["postgresql"],
  });
  socket.on("error", () => undefined);
  await once(socket, "readable");
  socket.read();
  const closed = () => new Error("closed") as never;
  const signal = new AbortController().signal;
  await behave(readMessages(socket, { maxFrameBytes: 65_536, closed, signal }), socket);
}

function connect() {
  const { port } = server.address() as AddressInfo;
  const target: PostgresTarget = {
    ...{ protocol: "postgres", name: "orders", host: "localhost", port },
    ...{
      tls: { mode: "verify-full", caFile: undefined },
      databases: undefined,
      searchPath: ["public"],
    },
    ...{ accounts: [], classify: [], tags: {} },
    catalogue: { user: "x", password: { from: "env", name: "NONE" }, database: "shop" },
  };
  const credential = { kind: "password", user: "app", password: new Secret(PASSWORD) } as const;
  return connectUpstream(target, "shop", credential, new Map(), {
    random: systemRandom,
    ca: authority.cert,
    connectTimeoutMs: 30_000,
    maxFrameBytes: 65_536,
  });
}

/** The server's side of the exchange, with what it offers and what it says its certificate's hash is. */
function scram(offer: readonly string[], hash: Buffer | undefined, seen: string[]) {
  return async (reader: MessageReader, socket: TLSSocket) => {
    socket.write(authenticationSasl(offer));
    const salt = systemRandom(16);
    const exchange = scramServer({
      nonce: systemRandom(18).toString("base64"),
      ...{ salt, iterations: 4096, certificateHash: hash },
    });
    const begun = await reader.next();
    const { mechanism, response } = decodeSaslInitialResponse(begun.buffer, begun.start, begun.end);
    seen.push(mechanism, String(response).split(",", 1)[0] ?? "");
    socket.write(
      authenticationSaslContinue(exchange.first(mechanism, response ?? Buffer.alloc(0))),
    );
    const last = await reader.next();
    const final = decodeSaslResponse(last.buffer, last.start, last.end).response;
    const { authMessage } = exchange.final(final);
    const serverKey = scramVerifier(PASSWORD, salt, 4096).split(":").at(-1) ?? "";
    const mac = createHmac("sha256", Buffer.from(serverKey, "base64"));
    const signature = mac.update(authMessage).digest();
    socket.write(
      Buffer.concat([
        authenticationSaslFinal(scramServerFinal(signature)),
        authenticationOk(),
        backendKeyData(7, Buffer.alloc(4)),
        readyForQuery("I"),
      ]),
    );
  };
}

const PLUS = "SCRAM-SHA-256-PLUS";
const PLAIN = "SCRAM-SHA-256";

test("what is proved to a target is bound to the connection where it can be", async () => {
  const seen: string[] = [];
  behave = async (reader, socket) => {
    const own = certificateHash(socket.getX509Certificate());
    assert.ok(own !== undefined);
    await scram([PLUS, PLAIN], own, seen)(reader, socket);
  };
  const upstream = await connect();
  assert.deepEqual(seen, [PLUS, "p=tls-server-end-point"]);
  assert.equal(upstream.processId, 7);
  upstream.socket.destroy();
});

test("a target that offers no binding is told that we could, one that others stand before refuses", async () => {
  const seen: string[] = [];
  behave = scram([PLAIN], undefined, seen);
  (await connect()).socket.destroy();
  assert.deepEqual(seen, [PLAIN, "y"]);
  // Somebody in between took PLUS out of the offer: the server, which made it, ends it.
  behave = scram([PLAIN], Buffer.alloc(32, 1), []);
  await assert.rejects(connect(), { code: "target_unavailable" });
  // Somebody in between with a certificate of its own: the proof is for that one.
  behave = scram([PLUS, PLAIN], Buffer.alloc(32, 1), []);
  await assert.rejects(connect(), { code: "target_unavailable" });
});

test("the password itself is never sent, and a server that does not know it is not believed", async () => {
  behave = async (_reader, socket) => void socket.write(authenticationCleartextPassword());
  await assert.rejects(connect(), { code: "target_unavailable", message: /cleartext-password/ });
  behave = async (reader, socket) => {
    socket.write(authenticationSasl([PLAIN]));
    await reader.next();
    socket.write(Buffer.concat([authenticationOk(), readyForQuery("I")]));
  };
  await assert.rejects(connect(), { code: "target_unavailable" });
});
