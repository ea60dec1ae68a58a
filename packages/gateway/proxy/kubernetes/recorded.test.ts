// What a client of Kubernetes is given while the disk does not take its recording, by policies as they are
// written, with a real journal whose flushes wait from the moment the first bytes of an answer are recorded.

import assert from "node:assert/strict";
import type { ServerResponse } from "node:http";
import { describe, it } from "node:test";
import { openTestDoor, type TestDoor } from "../../../../conformance/support/kubernetes-door.ts";
import { engineer, policy } from "../../access/access.fixture.ts";
import { type StallingEvidence, stallingEvidence } from "../../recording/stalling-disk.fixture.ts";

interface Stage extends AsyncDisposable {
  readonly door: TestDoor;
  readonly evidence: StallingEvidence;
}

async function stage(mode: string, answer: (answer: ServerResponse) => void): Promise<Stage> {
  await using parts = new AsyncDisposableStack();
  const evidence = parts.use(await stallingEvidence());
  const { journal, openRecorder } = evidence;
  const door = parts.use(
    await openTestDoor({
      ...{ hops: [engineer], journal, openRecorder },
      answer: (_request, response) => answer(response),
      policies: policy(`
        @id("connect") permit (principal, action == Custody::Action::"connect", resource);
        @id("reads") ${mode} permit (principal, action in [K8s::Action::"log", K8s::Action::"get"], resource);
      `),
    }),
  );
  parts.defer(evidence.disk.release);
  const all = parts.move();
  return { door, evidence, [Symbol.asyncDispose]: () => all.disposeAsync() };
}

const POD = "/api/v1/namespaces/shop/pods/web-1";
const OBJECT = { kind: "Pod", apiVersion: "v1", metadata: { name: "web-1" } };

const anObject = (answer: ServerResponse): void => {
  answer.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(OBJECT));
};

/** What was given to a client by now is there when another request, which is denied, was answered. */
async function roundTrip({ door }: Stage): Promise<void> {
  const denied = await door.ask("/api/v1/namespaces/shop/secrets/s", { method: "DELETE" });
  assert.equal(denied.status, 403);
  await denied.text();
}

describe("while the disk takes no recording", () => {
  it("nothing of a strict answer is given before it is on disk, its status neither", async () => {
    await using on = await stage('@record_mode("strict")', anObject);
    let hasCome = false;
    const asked = on.door.ask(POD).then((answer) => {
      hasCome = true;
      return answer;
    });
    await on.evidence.disk.waits;
    await roundTrip(on);
    assert.equal(hasCome, false);
    on.evidence.disk.release();
    assert.deepEqual(await (await asked).json(), OBJECT);
  });

  it("an answer of no mode is given", async () => {
    await using on = await stage("", anObject);
    assert.deepEqual(await (await on.door.ask(POD)).json(), OBJECT);
  });

  it("a bounded answer is broken off when the disk is later than its bound, and so is its session", async () => {
    await using on = await stage('@record_mode("bounded 300ms")', (answer) => {
      answer.writeHead(200, { "content-type": "text/plain" });
      answer.write("one\n");
    });
    const answer = await on.door.ask(`${POD}/log?follow=true`);
    const reader = answer.body!.getReader();
    const { value } = await reader.read();
    assert.equal(Buffer.from(value as Uint8Array).toString(), "one\n");
    await assert.rejects(async () => {
      while (!(await reader.read()).done);
    });
  });

  it("a bounded answer that was not begun is refused as Kubernetes refuses", async () => {
    await using on = await stage('@record_mode("bounded 300ms 1B")', anObject);
    const answer = await on.door.ask(POD);
    const status = (await answer.json()) as { kind: string; message: string };
    assert.deepEqual([answer.status, status.kind], [503, "Status"]);
    assert.match(status.message, /not on disk after 300 ms/);
  });
});
