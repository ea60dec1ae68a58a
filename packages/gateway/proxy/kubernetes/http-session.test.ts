import assert from "node:assert/strict";
import { describe, it, type TestContext } from "node:test";
import { createTestAccess, engineer, policy } from "../../access/access.fixture.ts";
import { systemClock } from "../../base/clock.ts";
import { Secret } from "../../base/secret.ts";
import type { Control } from "../../session/control.ts";
import type { KubernetesTarget } from "../../target/target.ts";
import { HttpSessions, type Shown, tokenExpiry } from "./http-session.ts";

const target: KubernetesTarget = {
  ...{ protocol: "kubernetes", name: "prod", caFile: undefined, fields: [], tags: {} },
  ...{ preview: "none", server: "https://127.0.0.1:9", accounts: [] },
};
const shown: Shown = {
  ...{ credential: new Secret("x"), identity: "x", untilMs: Number.POSITIVE_INFINITY },
  ...{ justification: undefined, target: "prod", account: undefined, clientAddress: "127.0.0.1" },
};

/** Sessions of a control side that opens as many as it is asked for, each with a token made for it. */
function sessionsOf(t: TestContext) {
  let opened = 0;
  const nothing = () => undefined;
  const control = {
    async openSession() {
      opened++;
      await new Promise((resolve) => setImmediate(resolve));
      return {
        ...{ sessionId: `s-${opened}`, chain: { hops: [engineer] }, account: "edit" },
        upstream: {
          ...{ kind: "kubernetes", user: "edit", token: new Secret("y") },
          ...{ untilMs: Date.now() + 3_600_000, certificate: undefined, impersonate: undefined },
        },
      };
    },
    closeSession: async () => undefined,
    noteDenial: nothing,
  };
  const sessions = new HttpSessions({
    ...{ targets: () => new Map([["prod", target]]), control: control as unknown as Control },
    ...{ access: createTestAccess(policy("")).access, clock: systemClock, log: nothing },
    journal: { append: nothing, beforeFlush: nothing } as never,
    openRecorder: () => ({ onBehind: nothing, end: nothing }) as never,
    targetCa: async () => undefined,
    ...{ sessionIdleMs: 60_000, targetConnectTimeoutMs: 1000, maxSessions: 10 },
  });
  t.after(() => sessions[Symbol.asyncDispose]());
  return { sessions, opened: () => opened };
}

describe("requests that show the same", () => {
  it("share one session, and one other when its token is over, however many wait for it", async (t) => {
    const { opened, sessions } = sessionsOf(t);
    const all = () => Promise.all(Array.from({ length: 50 }, () => sessions.of(shown)));
    const [first, ...others] = await all();
    assert.ok(first !== undefined && others.every((one) => one === first));
    assert.equal(opened(), 1);
    first.usableUntilMs = 0;
    const [next, ...rest] = await all();
    assert.ok(next !== first && rest.every((one) => one === next));
    assert.equal(opened(), 2);
  });
});

describe("when a credential is to be looked at again", () => {
  const token = (claims: object) =>
    `x.${Buffer.from(JSON.stringify(claims)).toString("base64url")}.x`;

  it("is when the first of its parts says", () => {
    assert.equal(tokenExpiry(`${token({ exp: 7 })}~${token({ exp: 5 })}~x`), 5000);
    assert.equal(tokenExpiry("cst_1_2"), Number.POSITIVE_INFINITY);
  });

  it("is looked for in no more parts than a credential has", (t) => {
    const parse = t.mock.method(JSON, "parse");
    assert.equal(tokenExpiry("a.a~".repeat(20_000)), Number.POSITIVE_INFINITY);
    assert.ok(parse.mock.callCount() <= 66);
  });
});
