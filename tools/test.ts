// Runs the tests: `npm test`, or some of them: `npm test -- packages/wire conformance/support`.
// The last line is `N passed, N failed, N skipped`; the exit code is 0 only when none failed and at
// least one ran.

import { availableParallelism } from "node:os";
import { join } from "node:path";
import { run } from "node:test";
import { spec } from "node:test/reporters";
import { ROOT, sourceFiles } from "./source-tree.ts";

/** A test that hangs is a test that failed; the slowest ones start real servers. */
const TIMEOUT_MS = 180_000;

const wanted = process.argv.slice(2).map((path) => path.replace(/^\.\//, "").replace(/\/$/, ""));
const files = sourceFiles()
  .map(({ path }) => path)
  .filter((path) => path.endsWith(".test.ts"))
  .filter((path) => wanted.length === 0 || wanted.some((prefix) => path.startsWith(prefix)));
const counts = { passed: 0, failed: 0, skipped: 0 };

const events = run({
  files: files.map((path) => join(ROOT, path)),
  concurrency: Math.max(2, Math.min(availableParallelism(), 8)),
  timeout: TIMEOUT_MS,
  execArgv: ["--disable-warning=ExperimentalWarning"],
  cwd: ROOT,
});
events.on("test:summary", (summary) => {
  // The summary of all files together is the one that names none.
  if (summary.file !== undefined) return;
  counts.passed = summary.counts.passed;
  counts.failed = summary.counts.tests - summary.counts.passed - summary.counts.skipped;
  counts.skipped = summary.counts.skipped;
});
const report = events.compose(spec());
report.pipe(process.stdout, { end: false });
report.on("end", () => {
  const { passed, failed, skipped } = counts;
  console.log(`\n${passed} passed, ${failed} failed, ${skipped} skipped`);
  process.exitCode = failed === 0 && passed > 0 ? 0 : 1;
});
