import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, renameSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import { watchConfig } from "./watch.ts";

const root = mkdtempSync(join(tmpdir(), "custody-watch-"));
after(() => rmSync(root, { recursive: true }));

async function until(condition: () => boolean): Promise<void> {
  for (let tries = 0; tries < 200 && !condition(); tries++) await sleep(25);
  assert.ok(condition());
}

test("a change of either is reported once, and nothing else is", async () => {
  const file = join(root, "custody.yaml");
  const policies = join(root, "policies");
  mkdirSync(policies);
  writeFileSync(file, "version: 1\n");
  let changes = 0;
  using watched = watchConfig(file, policies, () => changes++);

  writeFileSync(`${file}.new`, "version: 1 # edited\n");
  renameSync(`${file}.new`, file);
  await until(() => changes === 1);

  writeFileSync(join(policies, "a.cedar"), "one");
  writeFileSync(join(policies, "a.cedar"), "two");
  await until(() => changes === 2);

  writeFileSync(join(policies, "notes.txt"), "not a policy");
  utimesSync(file, 1, 1);
  await sleep(600);
  assert.equal(changes, 2);

  rmSync(policies, { recursive: true });
  await until(() => changes === 3);
  mkdirSync(policies);
  writeFileSync(join(policies, "b.cedar"), "three");
  watched.poke();
  assert.equal(changes, 4);
});

test("files that the configuration names beside count too, as it names them at the time", async () => {
  const folder = mkdtempSync(join(root, "more-"));
  const [file, policies] = [join(folder, "custody.yaml"), join(folder, "policies")];
  mkdirSync(policies);
  mkdirSync(join(folder, "grammars"));
  const [one, other] = ["one.yaml", "other.yaml"].map((name) => join(folder, "grammars", name));
  assert.ok(one !== undefined && other !== undefined);
  for (const path of [file, one, other]) writeFileSync(path, "first\n");
  let named = [one];
  let changes = 0;
  using watched = watchConfig(
    file,
    policies,
    () => changes++,
    () => named,
  );
  writeFileSync(one, "second\n");
  await until(() => changes === 1);
  named = [other];
  watched.poke();
  assert.equal(changes, 2);
  writeFileSync(other, "second\n");
  await until(() => changes === 3);
});
