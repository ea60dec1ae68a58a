// The hostile lines, each judged, as part of the tests; `npm run attack:ssh` runs them with what a real
// server adds.

import assert from "node:assert/strict";
import { test } from "node:test";
import { openLineJudge } from "./judge-lines.ts";
import { LITERAL } from "./lines-literal.ts";
import { PROGRAMS } from "./lines-programs.ts";

test("every hostile line is refused, is code, or runs as it was decided", () => {
  using judge = openLineJudge();
  const attempts = [...LITERAL, ...PROGRAMS];
  assert.equal(new Set(attempts.map(({ id, must }) => `${must} ${id}`)).size, attempts.length);
  assert.ok(attempts.length >= 200);
  const wrong = attempts.flatMap((attempt) =>
    judge.judge(attempt).map((sentence) => `${attempt.id}: ${sentence}`),
  );
  assert.deepEqual(wrong, []);
});
