// Exports of events from the checked document.

import { resolve } from "node:path";
import type { ExportTarget } from "./config.ts";
import { type Context, pemFile, resolveReference } from "./resolve-context.ts";
import type { ExportDocument } from "./schema-export.ts";

export function resolveExport(
  context: Context,
  name: string,
  { file, syslog, https, otlp }: ExportDocument,
): ExportTarget {
  const ca = (kind: string, caFile: string | undefined) =>
    caFile === undefined ? undefined : pemFile(context, ["export", name, kind, "caFile"], caFile);
  if (syslog !== undefined) {
    const { host, port, caFile } = syslog;
    return { kind: "syslog", name, host, port, caFile: ca("syslog", caFile) };
  }
  for (const [kind, collector] of [["https", https] as const, ["otlp", otlp] as const]) {
    if (collector === undefined) continue;
    const { url, caFile, token } = collector;
    return {
      ...{ kind, name, url, caFile: ca(kind, caFile) },
      token: token && resolveReference(context, token),
    };
  }
  return { kind: "file", name, path: resolve(context.directory, file ?? "") };
}
