import assert from "node:assert/strict";
import { test } from "node:test";
import { countFlush, countLeaf, createJournalMeter } from "../audit/journal-meter.ts";
import { metricsText } from "./metrics.ts";

test("metrics count commands by verdict and flushes by bucket, cumulatively", () => {
  const meter = createJournalMeter();
  for (const event of ["command.intent", "command.intent", "command.denied"] as const)
    countLeaf(meter, event);
  for (const seconds of [0.0004, 0.0005, 0.004, 3]) countFlush(meter, seconds);
  const text = metricsText({
    meter: () => meter,
    sessions: () => 7,
    residentBytes: () => 1024,
    logHeads: () => ({ published: 12, cosigned: 9, anchored: undefined }),
  });
  const lines = text.split("\n");
  for (const line of [
    "custody_sessions 7",
    'custody_commands_total{verdict="permit"} 2',
    'custody_commands_total{verdict="deny"} 1',
    'custody_commands_total{verdict="hold"} 0',
    'custody_journal_flush_seconds_bucket{le="0.0005"} 2',
    'custody_journal_flush_seconds_bucket{le="0.0025"} 2',
    'custody_journal_flush_seconds_bucket{le="0.005"} 3',
    'custody_journal_flush_seconds_bucket{le="+Inf"} 4',
    "custody_journal_flush_seconds_count 4",
    'custody_log_records{head="published"} 12',
    'custody_log_records{head="cosigned"} 9',
    "process_resident_memory_bytes 1024",
  ])
    assert.ok(lines.includes(line), line);
  assert.ok(text.endsWith("\n"));
  // Every line that is no comment is `name{labels} number`, as the format wants it.
  for (const line of lines.filter((one) => one !== "" && !one.startsWith("#")))
    assert.match(line, /^[a-z_]+(\{[a-z]+="[A-Za-z0-9.+]+"\})? [0-9.e+-]+$/);
});
