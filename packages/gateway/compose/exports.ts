// Forwarders of events, as configured. A reload does not change them: it says that a restart is needed.

import { readFileSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { createLogFiles } from "../audit/log-files.ts";
import { createOutbound } from "../audit/outbound.ts";
import type { Config, ExportTarget } from "../config/config.ts";
import type { ResolveSecret } from "../credential/secrets.ts";
import { type Forwarder, startForwarder } from "../siem/forwarder.ts";
import { fileSink, httpsSink, otlpSink, type Sink, syslogSink } from "../siem/sink.ts";

const EVERY_MS = 1_000;
const TIMEOUT_MS = 10_000;

export function startExports(
  config: Config,
  logDirectory: string,
  outside: { readonly resolveSecret: ResolveSecret; readonly log: (message: string) => void },
  stack: AsyncDisposableStack,
): readonly Forwarder[] {
  const { replace } = createLogFiles();
  return config.exports.map((target) =>
    stack.use(
      startForwarder({
        ...{ name: target.name, logDirectory, replace, everyMs: EVERY_MS },
        positionFile: join(config.dataDirectory, "export", `${target.name}.position`),
        sink: sinkOf(target, outside.resolveSecret),
        onProblem: outside.log,
      }),
    ),
  );
}

function sinkOf(target: ExportTarget, resolveSecret: ResolveSecret): Sink {
  if (target.kind === "file") return fileSink(target.path);
  const ca = target.caFile === undefined ? undefined : readFileSync(target.caFile, "utf8");
  if (target.kind === "syslog") {
    const { host, port } = target;
    return syslogSink({ host, port, ca, timeoutMs: TIMEOUT_MS, hostname: hostname() });
  }
  const { token, url } = target;
  const deps = {
    ...{ url, outbound: createOutbound(ca, TIMEOUT_MS) },
    token: async () => (token === undefined ? undefined : await resolveSecret(token)),
  };
  return target.kind === "otlp" ? otlpSink(deps) : httpsSink(deps);
}
