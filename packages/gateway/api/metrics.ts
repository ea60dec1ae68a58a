// Metrics in Prometheus' text format 0.0.4. Labels are events and verdicts, never who or what.

import { type CountedEvent, FLUSH_BUCKETS, type JournalMeter } from "../audit/journal-meter.ts";

export interface MetricSources {
  readonly meter: () => JournalMeter;
  readonly sessions: () => number;
  readonly residentBytes: () => number;
  /** Records in the published head, and in the newest one that went outside; undefined: it does not go. */
  readonly logHeads?: () => Readonly<
    Record<"published" | "cosigned" | "anchored", number | undefined>
  >;
  /** Records of the log that have not arrived, by the export's name. */
  readonly exportLag?: () => readonly (readonly [string, number])[];
}

export const METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8";

const VERDICTS: readonly (readonly [string, CountedEvent])[] = [
  ["permit", "command.intent"],
  ["deny", "command.denied"],
  ["hold", "hold.requested"],
];

export function metricsText({ sessions, residentBytes, ...sources }: MetricSources): string {
  const meter = sources.meter();
  const count = (event: CountedEvent) => meter.events.get(event) ?? 0;
  return [
    ...metric("custody_sessions", "gauge", "Sessions that are open.", [["", sessions()]]),
    ...metric(
      "custody_commands_total",
      "counter",
      "Commands by what was decided; one that was approved after a hold counts as both.",
      VERDICTS.map(([verdict, event]) => [`{verdict="${verdict}"}`, count(event)]),
    ),
    ...metric("custody_holds_ended_total", "counter", "Requests for approval that ended.", [
      ["", count("hold.ended")],
    ]),
    ...metric(
      "custody_events_total",
      "counter",
      "Events of the journal.",
      [...meter.events].map(([event, value]) => [`{event="${event}"}`, value]),
    ),
    ...flushHistogram(meter),
    ...metric(
      "custody_log_records",
      "gauge",
      "Records in the log's published head, and in the newest head that went outside.",
      Object.entries(sources.logHeads?.() ?? {}).flatMap(([head, size]) =>
        size === undefined ? [] : [[`{head="${head}"}`, size] as const],
      ),
    ),
    ...metric(
      "custody_export_lag_records",
      "gauge",
      "Records of the log that an export has not sent yet.",
      (sources.exportLag?.() ?? []).map(([name, lag]) => [`{export="${name}"}`, lag]),
    ),
    ...metric("process_resident_memory_bytes", "gauge", "Memory of the gateway's processes.", [
      ["", residentBytes()],
    ]),
    "",
  ].join("\n");
}

function metric(
  name: string,
  type: "counter" | "gauge" | "histogram",
  help: string,
  samples: readonly (readonly [suffix: string, value: number])[],
): string[] {
  return [
    `# HELP ${name} ${help}`,
    `# TYPE ${name} ${type}`,
    ...samples.map(([suffix, value]) => `${name}${suffix} ${value}`),
  ];
}

function flushHistogram({ flushes, flushSeconds }: JournalMeter): string[] {
  let total = 0;
  const samples = flushes.map((own, index): [string, number] => {
    total += own;
    return [`_bucket{le="${FLUSH_BUCKETS[index] ?? "+Inf"}"}`, total];
  });
  return metric("custody_journal_flush_seconds", "histogram", "Flushes of the journal.", [
    ...samples,
    ["_sum", flushSeconds],
    ["_count", total],
  ]);
}
