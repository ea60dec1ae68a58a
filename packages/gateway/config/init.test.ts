import assert from "node:assert/strict";
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";

import { starterPolicies } from "../policy/starter.ts";
import { checkConfiguration } from "./check.ts";
import { describeProblem } from "./config.ts";
import { initialise } from "./init.ts";
import { loadConfig, parseConfig } from "./load.ts";
import { STARTER_CONFIG } from "./starter-text.ts";

const root = mkdtempSync(join(tmpdir(), "custody-init-"));
after(() => rmSync(root, { recursive: true }));

test("what it writes can be loaded, and its keys are for the owner only", async () => {
  const made = await initialise(join(root, "new"));
  const loaded = loadConfig(made.configFile);
  assert.ok(loaded.ok, loaded.ok ? "" : loaded.problems.map(describeProblem).join("\n"));
  assert.equal(loaded.config.dataDirectory, made.dataDirectory);
  assert.deepEqual(
    readdirSync(made.policiesDirectory),
    starterPolicies().map((policy) => policy.name),
  );
  const checked = await checkConfiguration(made.configFile);
  assert.ok(checked.ok, checked.ok ? "" : checked.problems.map(describeProblem).join("\n"));
  assert.match(made.caFingerprint, /^([0-9A-F]{2}:){31}[0-9A-F]{2}$/);
  assert.equal(statSync(made.dataDirectory).mode & 0o777, 0o700);
  for (const key of ["ca/ca.key", "keys/seal.key"])
    assert.equal(statSync(join(made.dataDirectory, key)).mode & 0o777, 0o600, key);
});

test("it never overwrites, and a second run changes nothing", async () => {
  const directory = join(root, "twice");
  const made = await initialise(directory);
  writeFileSync(made.configFile, "version: 1 # mine\n");
  await assert.rejects(initialise(directory), /already there; nothing was changed/);
  assert.equal(readFileSync(made.configFile, "utf8"), "version: 1 # mine\n");

  const policies = join(root, "policies-only", "policies");
  mkdirSync(policies, { recursive: true });
  writeFileSync(join(policies, "mine.cedar"), "");
  await assert.rejects(initialise(join(root, "policies-only")), /policies is already there/);
  assert.deepEqual(readdirSync(join(root, "policies-only")), ["policies"]);
});

test("its commented examples are right: uncommented, they load", () => {
  const uncommented = STARTER_CONFIG.replace(/^([a-z]+): \{\}\n#/gm, "$1:\n#")
    .replace(/^# hostnames/m, "hostnames")
    .replace(/^# {2}/gm, "  ");
  mkdirSync(join(root, "policies"));
  const loaded = parseConfig(join(root, "custody.yaml"), uncommented);
  assert.ok(loaded.ok, loaded.ok ? "" : loaded.problems.map(describeProblem).join("\n"));
  assert.deepEqual([...loaded.config.targets.keys()], ["orders", "web-1"]);
  assert.deepEqual([...loaded.config.providers.keys()], ["corp", "github"]);
  assert.equal(loaded.config.people.size, 1);
  assert.equal(loaded.config.masks.size, 1);
});
