import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { connect as connectHttp2 } from "node:http2";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { connect as connectTls } from "node:tls";
import { createTestAuthority } from "../../../../conformance/support/certificates.ts";
import { openTestDoor, type TestDoor } from "../../../../conformance/support/kubernetes-door.ts";
import { engineer, policy } from "../../access/access.fixture.ts";
import { GatewayError } from "../../base/errors.ts";
import { Secret } from "../../base/secret.ts";
import { type ClientAuthority, openClientAuthority } from "../../config/client-authority.ts";

const folder = mkdtempSync(join(tmpdir(), "custody-door-"));
const revoked = new Set<string>();
let authority: ClientAuthority;
let door: TestDoor;

before(async () => {
  authority = await openClientAuthority(folder, Date.now());
  door = await openTestDoor({
    answer: (_request, answer) => {
      answer.writeHead(200, { "content-type": "application/json" });
      answer.end(JSON.stringify({ kind: "Pod", apiVersion: "v1", metadata: { name: "p" } }));
    },
    policies: policy(`
      @id("connect") permit (principal, action == Custody::Action::"connect", resource);
      @id("all") permit (principal, action in K8s::Action::"data", resource);
    `),
    hops: [engineer],
    letIn({ credential }) {
      if (credential instanceof Secret) {
        if (credential.reveal() !== "good")
          throw new GatewayError("unauthenticated", "another's token");
        return;
      }
      if (credential.kind !== "client-certificate") throw new GatewayError("internal", "what?");
      const delegation = authority.delegationOf(credential.certificate, Date.now());
      if (revoked.has(delegation)) throw new GatewayError("unauthenticated", "it was revoked");
    },
  });
});

after(async () => {
  await door[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true });
});

async function certificateFor(delegationId: string, from = authority) {
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "prime256v1" });
  const nowMs = Date.now();
  const made = await from.certify({
    ...{ delegationId, nowMs, expiresAtMs: nowMs + 3_600_000 },
    publicKey: publicKey.export({ type: "spki", format: "pem" }).toString(),
  });
  const key = privateKey.export({ type: "pkcs8", format: "pem" }).toString();
  return { cert: made.certificatePem, key };
}

const POD = "/api/v1/namespaces/shop/pods/p";

describe("a client certificate at the door for Kubernetes", () => {
  it("is who asks, over HTTP/1.1 and HTTP/2, and one session however many connections show it", async () => {
    const tls = await certificateFor("d-one");
    const before = door.opened.length;
    assert.equal((await door.ask(POD, { tls })).status, 200);
    assert.equal((await door.ask(POD, { tls })).status, 200);
    const client = connectHttp2(door.origin, { ca: door.ca, ...tls });
    const asked = client.request({ ":path": `/prod${POD}` });
    const [headers] = await once(asked, "response");
    client.destroy();
    assert.equal(headers[":status"], 200);
    assert.equal(door.opened.length, before + 1);
  });

  it("is not needed: a token is taken as ever, on a connection without one", async () => {
    assert.equal((await door.ask(POD)).status, 200);
    const none = await door.ask(POD, { headers: { authorization: "" } });
    assert.equal(none.status, 401);
  });

  it("and a token at once are two identities, and neither is taken", async () => {
    const tls = await certificateFor("d-two");
    const both = await door.ask(POD, { tls, headers: { authorization: "Bearer good" } });
    assert.equal(both.status, 400);
    const words = `why.${Buffer.from("ticket 12").toString("base64url")}`;
    const why = await door.ask(POD, { tls, headers: { authorization: `Bearer ${words}` } });
    assert.equal(why.status, 200);
    const basic = await door.ask(POD, { tls, headers: { authorization: "Basic Z29vZA==" } });
    assert.equal(basic.status, 400);
  });

  it("of another authority, of the listener's own, or of one revoked, is nobody", async () => {
    const other = join(folder, "other");
    const foreign = await certificateFor("d-one", await openClientAuthority(other, Date.now()));
    const listeners = createTestAuthority().issue(["d-one"]);
    const gone = await certificateFor("d-gone");
    revoked.add("d-gone");
    const reached = door.seen.length;
    for (const tls of [foreign, listeners, gone]) {
      const answer = await door.ask(POD, { tls });
      assert.equal(answer.status, 401);
    }
    assert.equal(door.seen.length, reached);
  });

  it("is worth nothing without its key", async () => {
    const { cert } = await certificateFor("d-one");
    const { key } = await certificateFor("d-one");
    assert.throws(() => connectTls({ ...{ cert, key }, port: 1 }), /mismatch/);
  });
});
