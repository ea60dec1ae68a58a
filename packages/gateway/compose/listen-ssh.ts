// The SSH door: the gateway's host key with a certificate of its own authority, and what decides who
// comes in and what runs.

import type { SshHostKey } from "@custody/wire/ssh/options.ts";
import { systemRandom } from "../base/ids.ts";
import { createLiveGrammars } from "../command/load-grammars.ts";
import { certificateHosts } from "../config/certificates.ts";
import type { Config } from "../config/config.ts";
import { openSshKeys, type SshKeys } from "../credential/ssh-keys.ts";
import { delegationOf, hostCertificate } from "../proxy/ssh/certificates.ts";
import {
  listenSsh,
  type SshLimits,
  type SshListener,
  type SshListenerDeps,
} from "../proxy/ssh/listener.ts";
import type { RecordedSession, Recorder } from "../recording/recorder.ts";
import type { Address } from "./listeners.ts";

export interface SshDoorDeps
  extends Pick<SshListenerDeps, "access" | "clock" | "control" | "journal" | "log"> {
  readonly config: () => Config;
  /** So many processes share the connections that are allowed. */
  readonly processes: number;
}

/** A host certificate lives 30 days. */
const RENEW_MS = 86_400_000;

export async function listenForSsh(
  deps: SshDoorDeps,
  at: Address,
  openRecorder: (session: RecordedSession) => Recorder,
): Promise<SshListener> {
  const { access, clock, control, journal, log } = deps;
  const config = deps.config();
  const keys = openSshKeys(config.dataDirectory);
  let hostKeys = [await hostKey(deps, keys)];
  const timer = setInterval(() => {
    hostKey(deps, keys).then(
      (renewed) => {
        hostKeys = [renewed];
      },
      (thrown) => log("the SSH host certificate was not renewed", thrown),
    );
  }, RENEW_MS).unref();
  const listener = await listenSsh({
    ...{ host: at.host, port: at.port, control, access, journal, clock, log, openRecorder },
    hostKeys: () => hostKeys,
    checkCertificate: (certificate, address) =>
      void delegationOf({ clock }, keys.userCa, certificate, address),
    targets: () => deps.config().targets,
    grammars: createLiveGrammars(() => deps.config().grammars),
    limits: sshLimits(config, deps.processes),
  });
  return {
    port: listener.port,
    get sessions() {
      return listener.sessions;
    },
    async [Symbol.asyncDispose]() {
      clearInterval(timer);
      await listener[Symbol.asyncDispose]();
    },
  };
}

async function hostKey(deps: SshDoorDeps, keys: SshKeys): Promise<SshHostKey> {
  const names = certificateHosts(deps.config());
  const certificate = await hostCertificate(
    { clock: deps.clock, random: systemRandom },
    keys,
    names,
  );
  return { privateKey: keys.host, certificate };
}

function sshLimits({ limits }: Config, processes: number): SshLimits {
  return {
    maxConnections: Math.ceil(limits.connections / processes),
    startupTimeoutMs: limits.startupTimeoutMs,
    targetConnectTimeoutMs: limits.targetConnectTimeoutMs,
    sessionIdleMs: limits.sessionIdleMs,
    shutdownGraceMs: limits.shutdownGraceMs,
    holdWaitMs: limits.holdWaitMs,
    holdReminderMs: limits.holdRepeatMs,
  };
}
