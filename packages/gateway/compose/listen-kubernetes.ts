// The door for clients of Kubernetes, from the configuration.

import { readFile } from "node:fs/promises";
import { createLiveGrammars } from "../command/load-grammars.ts";
import type { Config } from "../config/config.ts";
import {
  type KubernetesListener,
  type KubernetesListenerDeps,
  listenKubernetes,
} from "../proxy/kubernetes/listener.ts";
import type { RecordedSession, Recorder } from "../recording/recorder.ts";
import type { KubernetesTarget } from "../target/target.ts";
import type { Address } from "./listeners.ts";

/** What an API server takes (k8s.io/apiserver, pkg/server/config.go, MaxRequestBodyBytes). */
const MAX_BODY_BYTES = 3 << 20;
/** More than twice that: an object of a cluster is looked at as a whole, and others wait meanwhile. */
const MAX_OBJECT_BYTES = 8 << 20;

/** Of what every listener is given; see data-side.ts. */
export interface KubernetesDoorDeps
  extends Pick<
    KubernetesListenerDeps,
    "access" | "certificate" | "clock" | "control" | "journal" | "log"
  > {
  readonly config: () => Config;
  readonly processes: number;
}

export function listenForKubernetes(
  deps: KubernetesDoorDeps,
  at: Address,
  openRecorder: (session: RecordedSession) => Recorder,
): Promise<KubernetesListener> {
  const { access, certificate, clock, control, journal, log } = deps;
  const { limits } = deps.config();
  const connections = Math.ceil(limits.connections / deps.processes);
  return listenKubernetes({
    ...{ host: at.host, port: at.port, certificate, control, access, journal, clock, log },
    targets: () => deps.config().targets,
    openRecorder,
    grammars: createLiveGrammars(() => deps.config().grammars),
    targetCa: authorityOf,
    maskOf: (className) => deps.config().masks.get(className) ?? "redact",
    sessionIdleMs: limits.sessionIdleMs,
    targetConnectTimeoutMs: limits.targetConnectTimeoutMs,
    maxSessions: connections,
    maxConnections: connections,
    startupTimeoutMs: limits.startupTimeoutMs,
    maxBodyBytes: Math.min(limits.messageBytes, MAX_BODY_BYTES),
    limits: {
      holdWaitMs: limits.holdWaitMs,
      holdReminderMs: limits.holdRepeatMs,
      maxObjectBytes: Math.min(limits.messageBytes, MAX_OBJECT_BYTES),
    },
  });
}

async function authorityOf({ caFile }: KubernetesTarget): Promise<string | undefined> {
  return caFile === undefined ? undefined : await readFile(caFile, "utf8");
}
