// A provider's access token at a door: a real key, signed tokens, the real tree and exchange.

import assert from "node:assert/strict";
import { createHash, generateKeyPairSync } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { SignJWT } from "jose";
import {
  type ControlSide,
  startControlSide,
  testTarget,
} from "../../../conformance/support/control-side.ts";
import { Secret } from "../base/secret.ts";
import type { Provider } from "../config/config.ts";
import type { OpenedSession } from "../session/control.ts";
import { openStore } from "../store/store.ts";
import { rootOf } from "./chain.ts";
import { createAuthenticateOauth } from "./provider-token.ts";

const ISSUER = "https://idp.example";
const folder = mkdtempSync(join(tmpdir(), "custody-provider-token-"));
const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });

function provider(name: string, issuer: string): Provider {
  return {
    ...{ name, issuer, audience: "custody", clientId: undefined, kind: "users" },
    ...{ username: "name", groups: "groups", algorithms: ["ES256"], token: "access_token" },
    ...{ claims: {}, caFile: undefined, insecureHttp: false, keys: { file: join(folder, "keys") } },
  };
}

let side: ControlSide;

before(async () => {
  const jwk = { ...publicKey.export({ format: "jwk" }), kid: "one", alg: "ES256" };
  writeFileSync(join(folder, "keys"), JSON.stringify({ keys: [jwk] }));
  side = await startControlSide({
    providers: [provider("corp", ISSUER), provider("other", "https://other.example")],
    targets: [testTarget()],
    oauthIssuer: ISSUER,
  });
});

after(async () => {
  await side?.[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

let minted = 0;

async function token(claims: object = {}, header: object = {}): Promise<Secret> {
  const nowS = Math.floor(side.clock.nowMs() / 1000);
  minted += 1;
  const payload = {
    ...{ iss: ISSUER, aud: "custody", sub: "4711", jti: `t${minted}`, name: "engineer" },
    ...{ iat: nowS, exp: nowS + 300, groups: ["engineers"] },
    ...claims,
  };
  const signer = new SignJWT(payload);
  signer.setProtectedHeader({ alg: "ES256", kid: "one", typ: "at+jwt", ...header });
  return new Secret(await signer.sign(privateKey));
}

function open(shown: Secret): Promise<OpenedSession> {
  return side.control.openSession(
    {
      protocol: "postgres",
      credential: { kind: "oauth-token", token: shown },
      target: "orders",
      account: undefined,
      database: "shop",
      clientAddress: "127.0.0.1",
    },
    { onEnd: () => undefined, onWarning: () => undefined },
  );
}

describe("an access token of the door's provider", () => {
  test("signs its person in; shown again it is the same sign-in", async () => {
    const shown = await token();
    const [first, again, at, once] = await Promise.all([shown, shown, shown, shown].map(open));
    const root = (opened: OpenedSession | undefined) =>
      opened === undefined ? undefined : rootOf(opened.chain);
    assert.equal(root(first)?.id, "corp/engineer");
    assert.equal(root(first)?.provenance, "attested");
    for (const other of [again, at, once])
      assert.equal(root(other)?.delegationId, root(first)?.delegationId);
    const another = await open(await token());
    assert.notEqual(root(another)?.delegationId, root(first)?.delegationId);
  });

  test("does not sign in again once it has expired, or what came of it was revoked", async () => {
    const revoked = await token();
    const { delegationId } = rootOf((await open(revoked)).chain);
    side.tree.revoke(delegationId, "corp/admin", undefined);
    await assert.rejects(open(revoked), { message: /revoked/ });
    await assert.rejects(open(revoked), { message: /revoked/ });
    const late = await token();
    await open(late);
    side.clock.advance(400_000);
    await assert.rejects(open(late), { code: "unauthenticated" });
  });

  test("is the same sign-in after the gateway was started again, and ends where it ended", async () => {
    const shown = await token();
    const { delegationId } = rootOf((await open(shown)).chain);
    // Another that reads the same store: nothing is known to it but what was written.
    using store = openStore(side.directory);
    const { authenticate, clock, exchange, tree } = side;
    const started = createAuthenticateOauth({
      ...{ authenticate, clock, exchange, tree, shownTokens: store.shownTokens },
      providerIssuer: () => ISSUER,
    });
    assert.equal(rootOf(await started(shown)).delegationId, delegationId);
    tree.revoke(delegationId, "corp/admin", undefined);
    await assert.rejects(started(shown), { message: /revoked/ });
    // Forgotten with its tree, no sooner.
    const digest = createHash("sha256").update(shown.reveal()).digest("base64url");
    store.forget(clock.nowMs());
    assert.equal(store.shownTokens.delegationOf(digest), delegationId);
    store.forget(clock.nowMs() + 2 * 86_400_000);
    assert.equal(store.shownTokens.delegationOf(digest), undefined);
  });

  test("of another provider, of another kind, bound to a key or changed is refused", async () => {
    const good = (await token()).reveal();
    const [head = "", , signature = ""] = good.split(".");
    const forged = Buffer.from(JSON.stringify({ iss: ISSUER, sub: "1" })).toString("base64url");
    for (const shown of [
      await token({ iss: "https://other.example" }),
      await token({ iss: "https://nobody.example" }),
      await token({}, { typ: "JWT" }),
      await token({ aud: "another" }),
      await token({ cnf: { jkt: "x" } }),
      new Secret(`${head}.${forged}.${signature}`),
      new Secret(good.slice(0, -8)),
    ])
      await assert.rejects(open(shown), { code: "unauthenticated" });
  });

  test("is worth nothing as a password", async () => {
    await assert.rejects(
      side.control.openSession(
        {
          protocol: "postgres",
          credential: await token(),
          target: "orders",
          account: undefined,
          database: "shop",
          clientAddress: "127.0.0.1",
        },
        { onEnd: () => undefined, onWarning: () => undefined },
      ),
      { code: "unauthenticated" },
    );
  });
});
