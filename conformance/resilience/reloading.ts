// A new configuration or policy while sessions are open: an invalid one is refused whole and the running
// one stays, a valid one judges from the next command on.

import assert from "node:assert/strict";
import { readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type pg from "pg";
import type { Group } from "./checks.ts";
import { hangUp, type Subject, until } from "./world.ts";

const FORBID = `
@id("no-items")
@message("Items are out of reach.")
forbid (principal, action in SQL::Action::"data", resource == SQL::Table::"suite/test/public/items");
`;

function policyFile(subject: Subject): string {
  return join(subject.folder, "policies", "more.cedar");
}

function hangUpSignal(subject: Subject): void {
  process.kill(subject.gateway.pid, "SIGHUP");
}

async function mayRead(client: pg.Client): Promise<boolean> {
  try {
    await client.query("select count(*) from items");
    return true;
  } catch (error) {
    assert.equal((error as { code?: string }).code, "42501");
    return false;
  }
}

async function countOf(subject: Subject, event: string): Promise<number> {
  return (await subject.verify()).filter((leaf) => leaf.event === event).length;
}

/** Waits for one more line of the gateway's log that matches. */
async function says(subject: Subject, pattern: RegExp, work: () => void): Promise<void> {
  const before = subject.gateway.output().length;
  work();
  await until(`the log says ${pattern}`, () =>
    pattern.test(subject.gateway.output().slice(before)),
  );
}

export const reloading: Group = {
  name: "reloading",
  checks: [
    {
      name: "policies: an invalid set is refused with its reason, a valid one judges live sessions",
      async run(world) {
        await using subject = await world.subject();
        const client = await subject.connect();
        assert.ok(await mayRead(client));
        for (const bad of [
          "permit (",
          "permit (principal, action, resource);",
          `@id("x") permit (principal == Nobody::"x", action, resource);`,
        ])
          await says(subject, /refused.*more\.cedar/s, () =>
            writeFileSync(policyFile(subject), bad),
          );
        assert.ok(await mayRead(client));
        await says(subject, /configuration loaded/, () =>
          writeFileSync(policyFile(subject), FORBID),
        );
        assert.equal(await mayRead(client), false);
        assert.equal((await client.query("select 1 as one")).rows[0].one, 1);
        await says(subject, /configuration loaded/, () => {
          writeFileSync(policyFile(subject), "");
          hangUpSignal(subject);
        });
        await until("reading is permitted again", () => mayRead(client));
        await hangUp(client);
        await until(
          "leaf configuration.refused",
          async () => (await countOf(subject, "configuration.refused")) >= 3,
        );
        await until(
          "leaf configuration.loaded",
          async () => (await countOf(subject, "configuration.loaded")) >= 2,
        );
      },
    },
    {
      name: "custody.yaml: what is invalid or needs a restart is refused, SIGHUP included",
      async run(world) {
        await using subject = await world.subject();
        const client = await subject.connect();
        const file = subject.gateway.configFile;
        const good = readFileSync(file, "utf8");
        const changes: readonly (readonly [string, RegExp])[] = [
          [`${good}\nunknown: true\n`, /refused.*unknown/s],
          [good.replace("version: 1", "version: [1"), /refused/],
          [good.replace("tags: { env: test }", "tags: 5"), /refused/],
          [good.replace("data: ./data", "data: ./elsewhere"), /`data`.*restart/],
          [good.replace('"startupTimeout":"3s"', '"startupTimeout":"4s"'), /`limits`.*restart/],
        ];
        for (const [text, pattern] of changes) {
          assert.notEqual(text, good);
          await says(subject, pattern, () => writeFileSync(file, text));
          assert.ok(await mayRead(client));
        }
        await says(subject, /restart|refused/, () => hangUpSignal(subject));
        await says(subject, /configuration loaded/, () => {
          writeFileSync(file, good.replace("env: test", "env: prod"));
        });
        // A session of a target that changed ends; the next one is by the new configuration.
        await until("the session of the changed target ends", async () => {
          try {
            await client.query("select 1");
            return false;
          } catch {
            return true;
          }
        });
        const again = await subject.connect();
        assert.ok(await mayRead(again));
        await hangUp(again);
      },
    },
    {
      name: "a folder of policies that goes away and comes back",
      async run(world) {
        await using subject = await world.subject();
        const client = await subject.connect();
        const folder = join(subject.folder, "policies");
        await says(subject, /refused/, () => {
          renameSync(folder, `${folder}-away`);
          hangUpSignal(subject);
        });
        assert.ok(await mayRead(client));
        await says(subject, /configuration loaded/, () => {
          renameSync(`${folder}-away`, folder);
          hangUpSignal(subject);
        });
        assert.ok(await mayRead(client));
        await hangUp(client);
      },
    },
  ],
};
