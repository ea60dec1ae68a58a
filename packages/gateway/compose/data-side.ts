// The data side of a gateway: the listeners of every protocol, with what they decide by and record with.
// It is in one process with the control side, or in processes of its own (data-process.ts); it reaches
// the control side through `Control` alone and never opens the store.

import type { SecureContext } from "node:tls";
import type { Access } from "../access/operation.ts";
import type { Journal } from "../audit/journal.ts";
import type { Clock } from "../base/clock.ts";
import { systemRandom } from "../base/ids.ts";
import type { Config } from "../config/config.ts";
import type { CancelKey } from "../proxy/postgres/cancels.ts";
import type { Databases } from "../proxy/postgres/databases.ts";
import { listenPostgres, type PostgresListener } from "../proxy/postgres/listener.ts";
import { openRecorder, type RecordedSession, type Recorder } from "../recording/recorder.ts";
import type { RecordingKeys } from "../recording/recording-keys.ts";
import type { Control } from "../session/control.ts";
import { type Address, postgresLimits, postgresSignIn, targetCa } from "./listeners.ts";

export interface DataSideDeps {
  /** What holds now; a reload gives another. */
  readonly config: () => Config;
  readonly control: Control;
  readonly access: Access;
  readonly journal: Journal;
  readonly keys: RecordingKeys;
  readonly databases: Databases;
  readonly secureContext: () => SecureContext;
  /** The same as PEM, for servers of node's own. */
  readonly certificate: () => { readonly cert: string; readonly key: string };
  /** The gateway's URL: where clients learn how to get a token. */
  readonly issuer: string;
  readonly clock: Clock;
  readonly log: (message: string, error?: unknown) => void;
  /** So many processes share the connections that are allowed. */
  readonly processes: number;
  /** A cancel came here for a session that is not in this process; absent: there is no other. */
  readonly cancelElsewhere?: ((cancel: CancelKey) => void) | undefined;
}

/** Where clients come in; undefined when that protocol is not listened for. */
export interface ListenerAddresses {
  readonly postgres: Address | undefined;
  readonly ssh: Address | undefined;
  readonly kubernetes: Address | undefined;
}

export interface Listening {
  readonly addresses: ListenerAddresses;
  /** A cancel that came to another process. */
  cancel(cancel: CancelKey): void;
}

/** Listeners are in the stack once they listen. Throws GatewayError "configuration" when one cannot. */
export async function listenForClients(
  deps: DataSideDeps,
  stack: AsyncDisposableStack,
): Promise<Listening> {
  const { listen } = deps.config();
  const postgres = await opened(listen.postgres, listenForPostgres);
  // What a door needs is loaded where it is opened: tens of megabytes in each process that has none.
  const ssh = await opened(listen.ssh, async (given, at) => {
    const { listenForSsh } = await import("./listen-ssh.ts");
    return listenForSsh(given, at, (session) => recorderOf(given, session));
  });
  const kubernetes = await opened(listen.kubernetes, async (given, at) => {
    const { listenForKubernetes } = await import("./listen-kubernetes.ts");
    return listenForKubernetes(given, at, (session) => recorderOf(given, session));
  });
  return {
    addresses: {
      postgres: addressOf(listen.postgres, postgres),
      ssh: addressOf(listen.ssh, ssh),
      kubernetes: addressOf(listen.kubernetes, kubernetes),
    },
    cancel: (cancel) => postgres?.cancel(cancel),
  };

  async function opened<Listener extends AsyncDisposable>(
    at: Address | undefined,
    open: (deps: DataSideDeps, at: Address) => Promise<Listener>,
  ): Promise<Listener | undefined> {
    return at === undefined ? undefined : stack.use(await open(deps, at));
  }
}

/** Port 0 became a number. */
function addressOf(
  at: Address | undefined,
  listener: { readonly port: number } | undefined,
): Address | undefined {
  return at === undefined || listener === undefined
    ? undefined
    : { host: at.host, port: listener.port };
}

function listenForPostgres(deps: DataSideDeps, at: Address): Promise<PostgresListener> {
  const { access, clock, control, databases, journal, log, secureContext } = deps;
  return listenPostgres({
    ...{ host: at.host, port: at.port, secureContext, control, access, journal, clock, log },
    targets: () => deps.config().targets,
    signIn: () => postgresSignIn(deps.config(), deps.issuer),
    random: systemRandom,
    openRecorder: (session) => recorderOf(deps, session),
    classifierFor: (target, database) => databases.open(target, database),
    targetCa,
    limits: postgresLimits(deps.config(), deps.processes),
    cancelElsewhere: deps.cancelElsewhere,
  });
}

function recorderOf(deps: DataSideDeps, session: RecordedSession): Recorder {
  const { clock, journal, keys } = deps;
  const maxResponseBytes = deps.config().limits.recordingResponseBytes;
  return openRecorder(
    { journal, clock, keys, random: systemRandom },
    { ...session, maxResponseBytes },
  );
}
