// The gateway is killed (SIGKILL) at random moments while sessions work and come and go. After each
// start: the log verifies, every statement the server ran has its intent, what has no outcome is called
// indeterminate, no session is left open and no role behind.

import assert from "node:assert/strict";
import { randomInt } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import { commandDigest, parametersDigest } from "@custody/evidence/node/command-digest.ts";
import { type Group, runs } from "./checks.ts";
import { ask } from "./https-client.ts";
import { intentsWithoutEnd, type Leaf, sessionsWithoutEnd } from "./leaves.ts";
import { hangUp, type Subject, until, type World } from "./world.ts";

/** A log is verified whole each time, so it is not let grow without bound. */
const ROUNDS_PER_GATEWAY = 50;
const PREPARED = "insert into marks (id, round) values ($1, $2)";

export const kill: Group = {
  name: "kill",
  checks: [
    {
      name: `SIGKILL under load, ${runs()} times: nothing forwarded is without its intent`,
      async run(world) {
        let round = 0;
        const indeterminate = { commands: 0, sessions: 0 };
        while (round < runs()) {
          await using subject = await world.subject({ limits: { journalSegmentBytes: "1MiB" } });
          const until = Math.min(runs(), round + ROUNDS_PER_GATEWAY);
          for (; round < until; round++) await killOnce(world, subject, round);
          const leaves = await subject.verify();
          for (const { event, outcome } of leaves) {
            if (event === "command.indeterminate") indeterminate.commands++;
            if (event === "session.closed" && outcome === "gateway_killed")
              indeterminate.sessions++;
          }
        }
        console.log(`         ${indeterminate.commands} commands were found without an outcome`);
        assert.ok(indeterminate.commands > 0, "no kill met a running command");
      },
    },
  ],
};

async function killOnce(world: World, subject: Subject, round: number): Promise<void> {
  const logged = world.executed().length;
  const acknowledged = new Set<string>();
  const work = [
    inserting(subject, `${round}-a`, round, acknowledged, simple),
    inserting(subject, `${round}-b`, round, acknowledged, simple),
    inserting(subject, `${round}-c`, round, acknowledged, prepared),
    comingAndGoing(subject),
  ];
  await Promise.race([until("first insert", () => acknowledged.size > 0), Promise.all(work)]);
  await delay(randomInt(150));
  await subject.kill();
  await Promise.all(work);
  await subject.restart();

  const leaves = await subject.verify();
  const rows = await world.server.query("test", `select id from marks where round = ${round}`);
  const intents = digestsOfIntents(leaves);
  for (const { id } of rows)
    assert.ok(
      intents.has(digestOf(String(id), round)),
      `round ${round}: row ${id} has no intent in the log`,
    );
  const written = new Set(rows.map(({ id }) => String(id)));
  assert.deepEqual(
    [...acknowledged].filter((id) => !written.has(id)),
    [],
  );
  for (const line of world.executed().slice(logged)) {
    const text = /LOG: {2}statement: (.*)$/.exec(line)?.[1];
    if (text !== undefined)
      assert.ok(intents.has(commandDigest(text)), `round ${round}: no intent of ${text}`);
  }
  assert.deepEqual(intentsWithoutEnd(leaves), []);
  assert.deepEqual(sessionsWithoutEnd(leaves), []);
  assert.deepEqual(await subject.roles(), []);
  const live = await ask(subject, "/v1/sessions?state=live");
  assert.deepEqual(live.body, { sessions: [] });
}

type Insert = (id: string, round: number) => { text: string; values?: unknown[] };
const simple: Insert = (id, round) => ({ text: textOf(id, round) });
const prepared: Insert = (id, round) => ({ text: PREPARED, values: [id, round] });

function textOf(id: string, round: number): string {
  return `insert into marks (id, round) values ('${id}', ${round})`;
}

/** Until the gateway is gone. */
async function inserting(
  subject: Subject,
  name: string,
  round: number,
  acknowledged: Set<string>,
  insert: Insert,
): Promise<void> {
  try {
    const client = await subject.connect();
    for (let count = 0; ; count++) {
      const id = `${name}-${count}`;
      await client.query(insert(id, round));
      acknowledged.add(id);
    }
  } catch (error) {
    if (isOfPostgres(error)) throw error;
  }
}

/** A data process that lost its control process says so: 57P01, as a server that stops does. */
function isOfPostgres(error: unknown): boolean {
  const { code } = error as { code?: string };
  return code?.length === 5 && code !== "57P01";
}

async function comingAndGoing(subject: Subject): Promise<void> {
  try {
    for (;;) {
      const client = await subject.connect();
      await client.query("select count(*) from items");
      await hangUp(client);
    }
  } catch (error) {
    if (isOfPostgres(error)) throw error;
  }
}

function digestsOfIntents(leaves: readonly Leaf[]): Set<string> {
  const digests = new Set<string>();
  for (const { event, command, parameters } of leaves)
    if (event === "command.intent" && command !== undefined)
      digests.add(parameters === undefined ? command : `${command} ${parameters}`);
  return digests;
}

function digestOf(id: string, round: number): string {
  if (!id.includes("-c-")) return commandDigest(textOf(id, round));
  const parameters = [Buffer.from(id), Buffer.from(String(round))];
  return `${commandDigest(PREPARED)} ${parametersDigest(parameters)}`;
}
