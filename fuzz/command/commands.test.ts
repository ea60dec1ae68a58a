// A few runs of the fuzzers of commands, so that they are known to work and what they found stays found.

import assert from "node:assert/strict";
import { test } from "node:test";
import { seededRandom } from "../postgres/random.ts";
import { fuzzFiles } from "./files.ts";
import { fuzzLaunchers } from "./launchers.ts";

test("real launchers start what was decided and nothing else", () => {
  const { accepted, problems } = fuzzLaunchers("gnu", seededRandom(11), 600);
  assert.deepEqual(problems, []);
  assert.ok(accepted > 50, String(accepted));
});

test("real programs write what they were said to write and nothing else", () => {
  const { accepted, problems } = fuzzFiles(seededRandom(11), 300);
  assert.deepEqual(problems, []);
  assert.ok(accepted > 80, String(accepted));
});
