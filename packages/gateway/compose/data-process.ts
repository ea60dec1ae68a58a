// A process of the data side: started by data-processes.ts, it listens on the ports all of them share,
// decides on the settings it was sent, and writes a journal of its own. It never opens the store.
//
// It ends when the control process says so or is gone: without it nothing could be revoked (I9), so every
// session is ended then, at once.

import cluster from "node:cluster";
import { join } from "node:path";
import { pino } from "pino";
import { createAccess, DEFAULT_ACCESS_LIMITS } from "../access/authorize.ts";
import { lockJournal } from "../audit/journal-lock.ts";
import { type OpenJournal, openJournal } from "../audit/journal-writer.ts";
import type { DurablePlace } from "../audit/sequencer.ts";
import { systemClock } from "../base/clock.ts";
import { GatewayError } from "../base/errors.ts";
import { systemRandom } from "../base/ids.ts";
import { type MessageChannel, openChannel } from "../base/message-channel.ts";
import type { ListenerTls } from "../config/certificates.ts";
import type { Settings } from "../live.ts";
import type { CancelKey } from "../proxy/postgres/cancels.ts";
import { openClassMemory } from "../proxy/postgres/class-memory.ts";
import {
  type CatalogueReader,
  type Databases,
  openDatabases,
} from "../proxy/postgres/databases.ts";
import { loadRecordingKeys } from "../recording/recording-keys.ts";
import { createRemoteControl, type RemoteControl } from "../session/remote-control.ts";
import {
  type DataMethods,
  type DataStart,
  EXIT_EVIDENCE,
  type HostMethods,
  processPort,
  type SettingsData,
  settingsOf,
} from "./data-link.ts";
import { type ListenerAddresses, listenForClients } from "./data-side.ts";
import { listenerContext } from "./tls.ts";

/** How late the log may learn that something is on disk. */
const DURABLE_EVERY_MS = 100;
const REPORT_EVERY_MS = 1000;
const MAX_LEAVES_A_MESSAGE = 256;

type Host = MessageChannel<HostMethods>;

const logger = pino({ name: "custody", base: null }, pino.destination({ dest: 2, sync: true }));
const log = (message: string, error?: unknown): void => {
  if (error === undefined) logger.info(message);
  else logger.warn({ cause: String(error) }, message);
};

interface Running extends AsyncDisposable {
  readonly addresses: ListenerAddresses;
  readonly journal: OpenJournal;
  apply(settings: Settings): void;
  renew(tls: ListenerTls): void;
  tail(wanted: boolean): void;
  cancel(asked: CancelKey): void;
}

if (cluster.isWorker) run();

function run(): void {
  // The control process decides when this one ends; a terminal's Ctrl-C reaches both.
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, () => undefined);
  let running: Running | undefined;
  const started = (): Running => {
    if (running !== undefined) return running;
    throw new GatewayError("internal", "the data process was not started");
  };
  const remote = createRemoteControl({
    channel: () => host,
    record: (leaf) => void started().journal.append(leaf),
  });
  const host: Host = openChannel<DataMethods, HostMethods>(
    processPort({
      send: (message, taken) => void process.send?.(message, undefined, undefined, taken),
      on: (event: string, listener: (message: unknown) => void) => process.on(event, listener),
      isConnected: () => process.connected,
      disconnect: () => process.disconnect(),
    }),
    {
      ...remote.handlers,
      async start(start) {
        running = await open(start as DataStart, host, remote);
        return running.addresses;
      },
      apply: (settings) => started().apply(settingsOf(settings as SettingsData)),
      renew: (tls) => started().renew(tls as ListenerTls),
      async settle() {
        await started().journal.settled();
        return placeOf(started().journal);
      },
      tail: (wanted) => started().tail(wanted === true),
      cancel: (asked) => started().cancel(asked as CancelKey),
      async stop() {
        await started()[Symbol.asyncDispose]();
        return placeOf(started().journal);
      },
    },
    { onFault: (error) => log(error.message, error.cause) },
  );
  // Node would end a worker without its primary at once: clients are to be told.
  const { worker } = cluster;
  if (worker !== undefined) worker.exitedAfterDisconnect = true;
  void host.closed.then(async () => {
    remote.endAll({
      code: "shutdown",
      message: "the gateway is stopping",
      hint: "connect again in a moment",
    });
    await running?.[Symbol.asyncDispose]();
    process.exit(0);
  });
}

async function open(start: DataStart, host: Host, remote: RemoteControl): Promise<Running> {
  let live = settingsOf(start.settings);
  const { config } = live;
  const clock = systemClock;
  await using stack = new AsyncDisposableStack();
  stack.use(lockJournal(config.dataDirectory, start.worker));
  const journal = stack.use(
    await openJournal({
      directory: config.dataDirectory,
      worker: start.worker,
      clock,
      onFailure(error) {
        logger.fatal({ cause: String(error.cause) }, error.message);
        process.exit(EXIT_EVIDENCE);
      },
      segmentBytes: config.limits.journalSegmentBytes,
      maxLagMs: config.limits.journalLagMs,
      startDetail: {
        policyVersion: live.policies.version,
        policyDigest: live.policies.digest,
      },
    }),
  );
  stack.use(reportDurable(journal, host));
  const databases = stack.use(
    openDatabases({
      catalogue: catalogueBy(host),
      clock,
      masks: () => live.config.masks,
      memory: openClassMemory(join(config.dataDirectory, "classes"), process.pid),
      limits: config.limits,
      log,
    }),
  );
  let { tls } = start;
  let context = listenerContext(tls);
  const listening = await listenForClients(
    {
      ...{ clock, control: remote.control, databases, journal, log },
      config: () => live.config,
      access: createAccess({
        policies: () => live.policies,
        clock,
        limits: {
          ...DEFAULT_ACCESS_LIMITS,
          decisionsPerSession: config.limits.decisionCacheEntries,
        },
      }),
      keys: await loadRecordingKeys(config.dataDirectory, systemRandom),
      secureContext: () => context,
      certificate: () => tls,
      issuer: start.issuer,
      processes: start.processes,
      cancelElsewhere: (asked) => void host.offer("cancelElsewhere", asked),
    },
    stack,
  );
  const tail = tailTo(journal, host);
  const parts = stack.move();
  return {
    ...{ addresses: listening.addresses, journal, tail, cancel: listening.cancel },
    apply(settings) {
      forgetChanged(databases, live, settings);
      live = settings;
    },
    renew(renewed) {
      tls = renewed;
      context = listenerContext(tls);
    },
    [Symbol.asyncDispose]: () => parts.disposeAsync(),
  };
}

function catalogueBy(host: Host): CatalogueReader {
  return {
    snapshot: ({ name }, database) => host.call("snapshot", { target: name, database }),
    mark: ({ name }, database) => host.call("mark", { target: name, database }),
    definitions: ({ name }, database, of) =>
      host.call("definitions", { target: name, database, of }),
    rowFilters: ({ name }, database, of) => host.call("rowFilters", { target: name, database, of }),
    slotDatabase: ({ name }, database, slot) =>
      host.call("slotDatabase", { target: name, database, slot }),
  };
}

function forgetChanged(databases: Databases, before: Settings, after: Settings): void {
  for (const [name, target] of before.config.targets)
    if (JSON.stringify(target) !== JSON.stringify(after.config.targets.get(name)))
      databases.forget(name);
}

function placeOf({ durable }: Pick<OpenJournal, "durable">): DurablePlace {
  const position = Atomics.load(durable, 0);
  return { segment: Number(position >> 32n), offset: Number(position & 0xffffffffn) };
}

/** The log is the control process's; it reads this journal as far as it is told. */
function reportDurable(journal: OpenJournal, host: Host): Disposable {
  let told = 0n;
  const tell = (): void => {
    const position = Atomics.load(journal.durable, 0);
    if (position === told) return;
    told = position;
    host.tell("durable", placeOf(journal));
  };
  tell();
  const timers = [
    setInterval(tell, DURABLE_EVERY_MS),
    setInterval(
      () =>
        host.offer("report", {
          meter: journal.meter,
          residentBytes: process.memoryUsage.rss(),
        }),
      REPORT_EVERY_MS,
    ),
  ];
  for (const timer of timers) timer.unref();
  return {
    [Symbol.dispose]() {
      for (const timer of timers) clearInterval(timer);
      tell();
    },
  };
}

/** Leaves for whoever follows the log, gathered by the turn; a follower that is behind misses some. */
function tailTo(journal: OpenJournal, host: Host): (wanted: boolean) => void {
  let stop: (() => void) | undefined;
  let gathered: string[] = [];
  const flush = (): void => {
    const texts = gathered;
    gathered = [];
    for (let at = 0; at < texts.length; at += MAX_LEAVES_A_MESSAGE)
      host.offer("leaves", texts.slice(at, at + MAX_LEAVES_A_MESSAGE));
  };
  return (wanted) => {
    if (!wanted) {
      stop?.();
      stop = undefined;
    } else
      stop ??= journal.tail((text) => {
        if (gathered.length === 0) setImmediate(flush);
        gathered.push(text);
      });
  };
}
