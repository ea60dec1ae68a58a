import assert from "node:assert/strict";
import test from "node:test";
import type { LeafDraft } from "../audit/journal.ts";
import { systemRandom } from "../base/ids.ts";
import type { Chain } from "../delegation/chain.ts";
import type { ParticipantAct, ParticipantView } from "./control.ts";
import { createParticipants } from "./participants.ts";

function chainOf(delegationId: string): Chain {
  return {
    hops: [
      {
        ...{ delegationId, kind: "user", id: "corp/olga", name: "olga", subject: "corp/olga" },
        ...{ groups: [], provenance: "attested", grant: undefined, expiresAtMs: 1e15 },
      },
    ],
  } as unknown as Chain;
}

function staged() {
  const acts: [string, ParticipantAct][] = [];
  const leaves: LeafDraft[] = [];
  const ended = new Set<string>();
  const participants = createParticipants({
    registry: {
      act(session, act) {
        acts.push([session, act]);
        return session === "s-1";
      },
    },
    journal: {
      append: (leaf) => leaves.push(leaf),
      barrier: (_durability, done) => setImmediate(done),
    },
    isAlive: (id) => !ended.has(id),
    random: systemRandom,
  });
  const views: ParticipantView[] = [];
  const join = (mode: "observer" | "peer", session = "s-1") =>
    participants.join(
      { session: { id: session, target: "web-1", account: "deploy" }, chain: chainOf("d-1"), mode },
      (view) => void views.push(view),
    );
  return { participants, acts, leaves, ended, views, join };
}

const OUTPUT: ParticipantView = { kind: "output", bytes: Buffer.from("x") };
const eventsOf = (leaves: readonly LeafDraft[]) => leaves.map(({ event }) => event);

test("coming and going are on record, with whose it was and how", async () => {
  const { acts, join, leaves, participants, views } = staged();
  const id = await join("observer");
  assert.deepEqual([leaves[0]?.session, leaves[0]?.detail], ["s-1", { mode: "observer" }]);
  assert.equal(leaves[0]?.chain?.[0]?.d, "d-1");
  participants.show("s-1", id, OUTPUT);
  participants.show("s-2", id, OUTPUT);
  assert.deepEqual(views, [OUTPUT]);
  participants.leave(id);
  participants.leave(id);
  participants.show("s-1", id, OUTPUT);
  assert.equal(views.length, 1);
  assert.deepEqual(eventsOf(leaves), ["session.joined", "session.left"]);
  assert.deepEqual(
    acts.map(([, { act }]) => act),
    ["join", "leave"],
  );
});

test("a peer types with the delegation they came with, an observer nothing", async () => {
  const { acts, join, participants } = staged();
  const peer = await join("peer");
  const keys = Buffer.from("ls\r");
  participants.type(peer, chainOf("d-1"), keys);
  assert.deepEqual(acts.at(-1), ["s-1", { act: "type", participant: peer, bytes: keys }]);
  assert.throws(() => participants.type(peer, chainOf("d-2"), keys), { code: "not_found" });
  const observer = await join("observer");
  assert.throws(() => participants.type(observer, chainOf("d-1"), keys), { code: "forbidden" });
});

test("a sign-in that ended shows nothing more and types nothing", async () => {
  const { acts, ended, join, leaves, participants, views } = staged();
  const [first, second] = [await join("peer"), await join("peer")];
  ended.add("d-1");
  participants.show("s-1", first, OUTPUT);
  participants.type(second, chainOf("d-1"), Buffer.from("x"));
  assert.deepEqual(views, [
    { kind: "end", why: "your sign-in has ended" },
    { kind: "end", why: "your sign-in has ended" },
  ]);
  assert.ok(acts.every(([, { act }]) => act !== "type"));
  assert.equal(eventsOf(leaves).filter((event) => event === "session.left").length, 2);
});

test("the end of the session is the end for everybody; a session nobody can join says so", async () => {
  const { join, leaves, participants, views } = staged();
  await join("observer");
  participants.sessionClosed("s-1");
  assert.deepEqual(views, [{ kind: "end", why: "the session has ended" }]);
  await assert.rejects(join("observer", "s-2"), { code: "not_found" });
  assert.deepEqual(eventsOf(leaves).slice(-2), ["session.joined", "session.left"]);
});

test("a session takes so many and no more", async () => {
  const { join } = staged();
  for (let n = 0; n < 8; n += 1) await join("observer");
  await assert.rejects(join("observer"), { code: "limit" });
});
