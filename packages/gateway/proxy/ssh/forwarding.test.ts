// What is looked up for forwarded connections; the connections themselves are in relay-hosts.test.ts.

import assert from "node:assert/strict";
import test from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import type { ChannelOpen } from "@custody/wire/ssh/requests.ts";
import { Forwarding } from "./forwarding.ts";

function forwarding(mayBe: boolean) {
  const asked: { host: string; mayLookUp: boolean; answer: () => void }[] = [];
  const refused: number[] = [];
  const denied = { verdict: "deny", requestId: "r-1", lines: ["no"], exit: 1 };
  const judge = { mayBe: () => mayBe, judge: async () => denied };
  const context = { judge, site: { target: "web-1", account: "deploy" }, log: assert.fail };
  const made = new Forwarding(context as never, {
    isOwnTarget: (host, _port, mayLookUp) =>
      new Promise((resolve) => {
        asked.push({ host, mayLookUp, answer: () => resolve(false) });
      }),
    openToClient: () => assert.fail("nothing is opened"),
    requestGlobal: () => assert.fail("nothing is asked"),
  });
  const connection = { refuseChannel: (channel: number) => void refused.push(channel) };
  const peer = { isGone: false, connection, touch: () => undefined };
  return {
    ...{ asked, made, refused },
    open(channel: number, host: string) {
      const open: ChannelOpen = {
        ...{ kind: "direct-tcpip", host: Buffer.from(host), port: 443 },
        ...{ originHost: Buffer.from("127.0.0.1"), originPort: 1 },
      };
      made.onClientOpen({ peer: peer as never, channel }, open, () => assert.fail("permitted"));
    },
  };
}

test("nothing is looked up for who may not go there", async () => {
  const { asked, open } = forwarding(false);
  open(1, "slow.example");
  await turn();
  assert.deepEqual(
    asked.map(({ host, mayLookUp }) => [host, mayLookUp]),
    [["slow.example", false]],
  );
});

test("a session has one name looked up at a time, and none once it is over", async () => {
  const { asked, made, open, refused } = forwarding(true);
  for (const channel of [1, 2, 3]) open(channel, `slow-${channel}.example`);
  await turn();
  assert.deepEqual(
    asked.map(({ host, mayLookUp }) => [host, mayLookUp]),
    [["slow-1.example", true]],
  );
  asked[0]?.answer();
  await turn();
  assert.deepEqual([asked.length, refused], [2, [1]]);
  made.close();
  asked[1]?.answer();
  await turn();
  assert.equal(asked.length, 2);
});
