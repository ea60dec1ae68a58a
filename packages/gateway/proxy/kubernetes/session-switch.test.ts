// A session whose token is over, or that the API server takes no more: nothing new begins in it, and what runs
// in it goes on.

import assert from "node:assert/strict";
import type { IncomingMessage, ServerResponse } from "node:http";
import { describe, it, type TestContext } from "node:test";
import {
  type DoorOptions,
  openTestDoor,
  type TestDoor,
} from "../../../../conformance/support/kubernetes-door.ts";
import { engineer, policy } from "../../access/access.fixture.ts";
import { systemClock } from "../../base/clock.ts";

const PODS = "/api/v1/namespaces/shop/pods";
const HOUR_MS = 3_600_000;

interface Switched {
  readonly door: TestDoor;
  /** Tokens the API server does not take. */
  readonly refused: Set<string>;
  /** As it saw them. */
  readonly tokens: string[];
  readonly watches: ServerResponse[];
  /** So much later is it for the gateway. */
  later(ms: number): void;
  get(): Promise<number>;
}

async function switching(t: TestContext, tokens: DoorOptions["tokens"]): Promise<Switched> {
  const refused = new Set<string>();
  const seen: string[] = [];
  const watches: ServerResponse[] = [];
  let offsetMs = 0;
  const answer = (request: IncomingMessage, response: ServerResponse) => {
    const token = request.headers.authorization?.slice("Bearer ".length) ?? "";
    seen.push(token);
    response.writeHead(refused.has(token) ? 401 : 200, { "content-type": "application/json" });
    if (request.url?.includes("watch=1") !== true) response.end(`{"kind":"PodList","items":[]}`);
    else {
      watches.push(response);
      response.write(event("first"));
    }
  };
  const door = await openTestDoor({
    ...{ answer, hops: [engineer], ...(tokens === undefined ? {} : { tokens }) },
    policies: policy(`@id("all") permit (principal, action, resource);`),
    clock: { ...systemClock, nowMs: () => systemClock.nowMs() + offsetMs },
  });
  t.after(() => door[Symbol.asyncDispose]());
  return {
    ...{ door, refused, tokens: seen, watches },
    later(ms) {
      offsetMs += ms;
    },
    async get() {
      const answered = await door.ask(PODS);
      await answered.text();
      return answered.status;
    },
  };
}

function event(name: string): string {
  return `${JSON.stringify({ type: "ADDED", object: { kind: "Pod", metadata: { name } } })}\n`;
}

/** The pieces of a watch as text, one by one. */
async function watch({ door }: Switched) {
  const { body } = await door.ask(`${PODS}?watch=1`);
  const reader = (body as ReadableStream<Uint8Array>).getReader();
  let kept = "";
  return async (name: string) => {
    while (!kept.includes(`"${name}"`)) {
      const { done, value } = await reader.read();
      assert.ok(!done, `${name} came`);
      kept += Buffer.from(value).toString();
    }
  };
}

describe("a session of a token that is made for it", () => {
  it("is followed by another before the token is over, and what runs in it goes on", async (t) => {
    const untilMs = Date.now() + HOUR_MS;
    const one = await switching(t, [{ token: "t1", untilMs }, { token: "t2" }]);
    const sees = await watch(one);
    await sees("first");
    one.later(HOUR_MS - 120_000);
    assert.equal(await one.get(), 200);
    one.later(61_000);
    assert.equal(await one.get(), 200);
    assert.equal(await one.get(), 200);
    assert.deepEqual(one.tokens, ["t1", "t1", "t2", "t2"]);
    assert.equal(one.door.opened.length, 2);
    one.watches[0]?.write(event("later"));
    await sees("later");
  });

  it("is followed by another once the API server refuses the token", async (t) => {
    const untilMs = Date.now() + HOUR_MS;
    const one = await switching(t, [
      { token: "t1", untilMs },
      { token: "t2", untilMs },
    ]);
    const sees = await watch(one);
    one.refused.add("t1");
    assert.equal(await one.get(), 503);
    assert.equal(await one.get(), 200);
    assert.deepEqual(one.tokens, ["t1", "t1", "t2"]);
    assert.equal(one.door.opened.length, 2);
    one.watches[0]?.write(event("later"));
    await sees("later");
  });

  it("is not followed where the next would show the same", async (t) => {
    const one = await switching(t, undefined);
    one.refused.add("of-the-cluster");
    assert.equal(await one.get(), 503);
    assert.equal(await one.get(), 503);
    assert.equal(one.door.opened.length, 1);
  });
});
