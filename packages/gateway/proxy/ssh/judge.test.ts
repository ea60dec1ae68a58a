// How much of what is asked is decided in one turn of the process.

import assert from "node:assert/strict";
import test from "node:test";
import type { Operation } from "../../access/operation.ts";
import { systemClock } from "../../base/clock.ts";
import { type Asked, Judge } from "./judge.ts";
import { variableOperation } from "./operations.ts";

const SITE = { target: "web-1", account: "deploy" };

/** Of so many commands: it is never run here, so that it is no command line makes no difference. */
function longOperation(effects: number): Operation {
  const some = Array.from({ length: effects }, (_, at) => variableOperation(SITE, `V${at}`, ""));
  return { ...variableOperation(SITE, "V", ""), effects: some.flatMap((one) => one.effects) };
}

function staged(hops: number) {
  const decided: number[] = [];
  const denied: string[] = [];
  let inTurn = 0;
  let most = 0;
  let isOver = false;
  const count = (): void => {
    most = Math.max(most, inTurn);
    inTurn = 0;
    if (!isOver) setImmediate(count);
  };
  count();
  let requests = 0;
  const book = {
    subject: { chain: { hops: Array.from({ length: hops }) } },
    nextRequestId: () => `r-${++requests}`,
    decide({ effects }: Operation) {
      decided.push(effects.length);
      inTurn += effects.length * hops;
      const denial = { kind: "forbidden", what: "", message: "no", policyId: "p" };
      return { verdict: "deny", denial, policyVersion: "v" };
    },
    recorder: { command: () => undefined },
    refuseCommand: (_command: unknown, denial: { message: string }) =>
      void denied.push(denial.message),
  };
  const judge = new Judge({ book, clock: systemClock, detect: [] } as never);
  const ask = (operation: Operation) =>
    judge.judge({
      ...{ operation, command: "x", bound: [], durability: "strict", tell: () => undefined },
    } satisfies Asked);
  const end = (): void => {
    isOver = true;
  };
  return { judge, ask, decided, denied, most: () => most, end };
}

test("a line of many commands below a long chain is asked about a few pairs a turn, one line at a time", async () => {
  const stage = staged(32);
  const all = await Promise.all([stage.ask(longOperation(100)), stage.ask(longOperation(100))]);
  stage.end();
  assert.deepEqual(
    all.map(({ verdict }) => verdict),
    ["deny", "deny"],
  );
  // The whole of each is decided last, from answers that are there by then.
  const wholes = stage.decided.filter((effects) => effects === 100);
  assert.equal(wholes.length, 2);
  assert.equal(stage.decided.filter((effects) => effects === 1).length, 200);
});

test("between the parts others have their turn", async () => {
  const stage = staged(8);
  const asked = stage.ask(longOperation(40));
  // Until the whole is decided, whose answers are there.
  while (!stage.decided.includes(40)) {
    assert.ok(stage.most() <= 64, `${stage.most()} pairs in one turn`);
    await new Promise((resolve) => setImmediate(resolve));
  }
  stage.end();
  await asked;
  assert.deepEqual(stage.decided, [...Array.from({ length: 10 }, () => 4), 40]);
});

test("what is short is decided at once", () => {
  const stage = staged(4);
  void stage.ask(longOperation(8));
  stage.end();
  assert.deepEqual(stage.decided, [8]);
});

test("of long lines a session has so many waiting; when it ends the rest is not asked about, and is on record", async () => {
  const stage = staged(32);
  const all = Array.from({ length: 20 }, () => stage.ask(longOperation(100)));
  await Promise.all(all.slice(16));
  const tooMany = "too many long commands of this session wait to be decided";
  assert.deepEqual(stage.denied, [tooMany, tooMany, tooMany, tooMany]);
  await stage.judge.close();
  stage.end();
  await Promise.all(all);
  assert.equal(stage.denied.length, 20);
  assert.ok(stage.decided.length < 200, `${stage.decided.length} were decided`);
  assert.equal(stage.denied.at(-1), "the session ended before it was decided");
});
