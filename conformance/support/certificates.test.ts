import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import test from "node:test";
import { connect, createServer } from "node:tls";
import { createTestAuthority, fingerprint } from "./certificates.ts";

test("a certificate verifies against its authority and names what it was issued for", () => {
  const authority = createTestAuthority("Some CA");
  const pair = authority.issue(["localhost", "127.0.0.1", "::1"]);
  const leaf = new X509Certificate(pair.cert);
  const root = new X509Certificate(authority.cert);
  assert.ok(leaf.checkIssued(root));
  assert.ok(leaf.verify(root.publicKey));
  assert.ok(root.ca);
  assert.equal(leaf.ca, false);
  assert.equal(leaf.checkHost("localhost"), "localhost");
  assert.equal(leaf.checkIP("127.0.0.1"), "127.0.0.1");
  assert.equal(leaf.checkIP("::1"), "::1");
  assert.equal(leaf.checkHost("example.com"), undefined);
  assert.equal(root.fingerprint256.replaceAll(":", "").toLowerCase(), fingerprint(authority.cert));
});

test("TLS accepts it with the authority and refuses it without, for another name, and when past", async () => {
  const authority = createTestAuthority();
  const past = { notBefore: new Date(Date.now() - 2e8), notAfter: new Date(Date.now() - 1e8) };
  assert.equal(await handshake(authority.issue(["localhost"]), authority.cert), "authorized");
  assert.equal(
    await handshake(authority.issue(["localhost"]), createTestAuthority().cert),
    "UNABLE_TO_VERIFY_LEAF_SIGNATURE",
  );
  assert.equal(
    await handshake(authority.issue(["elsewhere"]), authority.cert),
    "ERR_TLS_CERT_ALTNAME_INVALID",
  );
  assert.equal(
    await handshake(authority.issue(["localhost"], past), authority.cert),
    "CERT_HAS_EXPIRED",
  );
});

async function handshake(pair: { key: string; cert: string }, ca: string): Promise<string> {
  const server = createServer(pair, (socket) => socket.on("error", () => undefined));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const socket = connect({
    host: "127.0.0.1",
    port: (server.address() as AddressInfo).port,
    ca,
    servername: "localhost",
  });
  try {
    await once(socket, "secureConnect");
    return socket.authorized ? "authorized" : "unauthorized";
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? "unknown";
  } finally {
    socket.destroy();
    server.close();
  }
}
