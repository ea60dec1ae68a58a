// The data side in processes of its own, as the control process has it: starts them, tells them what holds,
// answers what they ask, follows their journals, and starts one again that died. They share the ports
// through node:cluster, which hands connections out in turn.
//
// Who owns the state: the object returned owns the processes. A process that dies takes its sessions with
// it: they are closed here at once, and the process started in its place ends their commands as
// indeterminate, from the journal, before it takes a connection. One that cannot write its journal, or dies
// again and again, ends the gateway.

import cluster, { type Worker } from "node:cluster";
import { getCompileCacheDir } from "node:module";
import type { JournalMeter } from "../audit/journal-meter.ts";
import type { DurablePlace } from "../audit/sequencer.ts";
import { GatewayError, toGatewayError } from "../base/errors.ts";
import { type MessageChannel, openChannel } from "../base/message-channel.ts";
import type { ListenerTls } from "../config/certificates.ts";
import type { Settings } from "../live.ts";
import type { CancelKey } from "../proxy/postgres/cancels.ts";
import type { CatalogueReader } from "../proxy/postgres/databases.ts";
import type { Control } from "../session/control.ts";
import { serveControl } from "../session/control-link.ts";
import { type PostgresTarget, speaks } from "../target/target.ts";
import {
  type DatabaseNamed,
  type DataMethods,
  type DataReport,
  type DefinitionsNamed,
  EXIT_EVIDENCE,
  type FilteredNamed,
  type HostMethods,
  processPort,
  type SlotNamed,
  settingsData,
} from "./data-link.ts";
import type { ListenerAddresses } from "./data-side.ts";

export interface DataProcesses extends AsyncDisposable {
  readonly addresses: ListenerAddresses;
  /** Resolves when every process judges by it; one that cannot is ended. */
  apply(settings: Settings): Promise<void>;
  renew(tls: ListenerTls): void;
  /** Resolves when what they appended so far is on disk and known to be. */
  settled(): Promise<void>;
  tail(listener: (leafJson: string) => void): () => void;
  readonly meters: readonly JournalMeter[];
  readonly residentBytes: number;
  /** Whether all of them run. */
  readonly complete: boolean;
}

export interface DataProcessesDeps {
  /** Numbers of their journals, one a process. */
  readonly workers: readonly number[];
  readonly settings: () => Settings;
  readonly tls: () => ListenerTls;
  /** The gateway's URL: where clients learn how to get a token. */
  readonly issuer: string;
  readonly control: Control;
  readonly catalogue: CatalogueReader;
  readonly endBackends: (sessionIds: readonly string[]) => Promise<void>;
  /** How far a journal is on disk. */
  readonly onDurable: (worker: number, place: DurablePlace) => void;
  readonly log: (message: string, error?: unknown) => void;
  readonly onFault: (thrown: unknown) => void;
  /** Nothing may go on. */
  readonly onFailure: (error: GatewayError) => void;
}

/** Beyond the time that running commands are given. */
const STOP_MARGIN_MS = 10_000;
const START_TIMEOUT_MS = 60_000;
/** A process that died so often within so long will not do better. */
const MAX_DEATHS = 5;
const DEATHS_WITHIN_MS = 60_000;

type Link = MessageChannel<DataMethods>;

interface DataProcess {
  readonly worker: number;
  readonly link: Link;
  readonly process: Worker;
  readonly exited: Promise<number>;
  report: DataReport | undefined;
}

export async function startDataProcesses(deps: DataProcessesDeps): Promise<DataProcesses> {
  const all = new DataSideProcesses(deps);
  try {
    await all.start();
  } catch (thrown) {
    await all[Symbol.asyncDispose]();
    throw thrown;
  }
  return all;
}

class DataSideProcesses implements DataProcesses {
  readonly #deps: DataProcessesDeps;
  #addresses: ListenerAddresses | undefined;
  readonly #running = new Map<number, DataProcess>();
  readonly #starting = new Set<Promise<void>>();
  #tails: ((leafJson: string) => void)[] = [];
  #deathsMs: number[] = [];
  #isStopping = false;

  constructor(deps: DataProcessesDeps) {
    this.#deps = deps;
  }

  /** The first alone: where it listens is where all do, and what it cannot do none can. */
  async start(): Promise<void> {
    const [first, ...others] = this.#deps.workers;
    if (first !== undefined) await this.#startOne(first);
    await Promise.all(others.map((worker) => this.#startOne(worker)));
  }

  get addresses(): ListenerAddresses {
    if (this.#addresses !== undefined) return this.#addresses;
    throw new GatewayError("internal", "no data process listens");
  }

  get complete(): boolean {
    return this.#running.size === this.#deps.workers.length;
  }

  get meters(): readonly JournalMeter[] {
    return this.#reports().map(({ meter }) => meter);
  }

  get residentBytes(): number {
    return this.#reports().reduce((sum, { residentBytes }) => sum + residentBytes, 0);
  }

  async apply(settings: Settings): Promise<void> {
    const data = settingsData(settings);
    await this.#each(async (one) => {
      try {
        await one.link.call("apply", data);
      } catch (thrown) {
        // What it would go on to decide is not what holds: it is ended, and started with what does (I2).
        if (!one.link.isClosed)
          this.#deps.log("a data process could not take the settings", thrown);
        one.process.process.kill("SIGKILL");
      }
    });
  }

  renew(tls: ListenerTls): void {
    for (const { link } of this.#running.values()) link.tell("renew", tls);
  }

  async settled(): Promise<void> {
    await this.#each(async ({ link, worker }) => {
      // One that dies now is waited for by nobody: what it had on disk its successor reads.
      const place = await link.call("settle", null).catch(() => undefined);
      if (place !== undefined) this.#deps.onDurable(worker, place);
    });
  }

  tail(listener: (leafJson: string) => void): () => void {
    this.#tails = [...this.#tails, listener];
    this.#tellTail();
    return () => {
      this.#tails = this.#tails.filter((other) => other !== listener);
      this.#tellTail();
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isStopping = true;
    await Promise.allSettled(this.#starting);
    const { shutdownGraceMs } = this.#deps.settings().config.limits;
    await this.#each(async ({ exited, link, process, worker }) => {
      const timer = setTimeout(
        () => process.process.kill("SIGKILL"),
        shutdownGraceMs + STOP_MARGIN_MS,
      );
      const place = await link.call("stop", null).catch(() => undefined);
      if (place !== undefined) this.#deps.onDurable(worker, place);
      link.close();
      await exited;
      clearTimeout(timer);
    });
  }

  #tellTail(): void {
    for (const { link } of this.#running.values()) link.tell("tail", this.#tails.length > 0);
  }

  #tellTails(texts: readonly string[]): void {
    for (const text of texts) for (const tail of this.#tails) tail(text);
  }

  #reports(): readonly DataReport[] {
    return [...this.#running.values()].flatMap(({ report }) =>
      report === undefined ? [] : report,
    );
  }

  async #each(work: (one: DataProcess) => Promise<void>): Promise<void> {
    await Promise.all([...this.#running.values()].map(work));
  }

  async #startOne(worker: number): Promise<void> {
    const starting = this.#open(worker);
    this.#starting.add(starting);
    try {
      await starting;
    } finally {
      this.#starting.delete(starting);
    }
  }

  async #open(worker: number): Promise<void> {
    const { issuer, settings, tls, workers } = this.#deps;
    const one = this.#fork(worker);
    const timer = setTimeout(() => one.process.process.kill("SIGKILL"), START_TIMEOUT_MS);
    let sent = settings();
    try {
      const addresses = await one.link.call("start", {
        worker,
        processes: workers.length,
        settings: settingsData(sent),
        tls: tls(),
        issuer,
      });
      // A reload may have come while it started.
      while (sent !== settings()) {
        sent = settings();
        await one.link.call("apply", settingsData(sent));
      }
      this.#addresses = addresses;
    } catch (thrown) {
      one.process.process.kill("SIGKILL");
      throw toGatewayError(thrown);
    } finally {
      clearTimeout(timer);
    }
    this.#running.set(worker, one);
    if (this.#tails.length > 0) one.link.tell("tail", true);
  }

  #fork(worker: number): DataProcess {
    const { catalogue, control, endBackends, log, onDurable, onFault } = this.#deps;
    cluster.setupPrimary({
      exec: new URL("./data-process.ts", import.meta.url).pathname,
      args: [],
      serialization: "advanced",
    });
    const process = cluster.fork(environmentOf());
    const exited = new Promise<number>((resolve) =>
      process.once("exit", (code, signal) => resolve(signal === null ? code : -1)),
    );
    const serving = serveControl({ control, endBackends, onFault, channel: () => link });
    const link: Link = openChannel<HostMethods, DataMethods>(
      processPort({
        send: (message, taken) => void process.send(message as object, undefined, undefined, taken),
        on: (event: string, listener: (message: unknown) => void) => process.on(event, listener),
        isConnected: () => process.isConnected(),
        disconnect: () => process.process.disconnect(),
      }),
      {
        ...serving.handlers,
        snapshot: (of) => this.#catalogue(of, (...at) => catalogue.snapshot(...at)),
        mark: (of) => this.#catalogue(of, (...at) => catalogue.mark(...at)),
        definitions: (of) =>
          this.#catalogue(of, (...at) => catalogue.definitions(...at, (of as DefinitionsNamed).of)),
        rowFilters: (of) =>
          this.#catalogue(of, (...at) => catalogue.rowFilters(...at, (of as FilteredNamed).of)),
        slotDatabase: (of) =>
          this.#catalogue(of, (...at) =>
            catalogue.slotDatabase(...at, String((of as SlotNamed).slot)),
          ),
        durable: (place) => onDurable(worker, placeOf(place)),
        report(report) {
          one.report = report as DataReport;
        },
        leaves: (texts) => this.#tellTails(texts as readonly string[]),
        cancelElsewhere: (cancel) => this.#cancel(cancel as CancelKey, one),
      },
      { onFault: (error) => log(error.message, error) },
    );
    const one: DataProcess = { worker, link, process, exited, report: undefined };
    void this.#untilGone(one, () => serving.abandon());
    return one;
  }

  /** The target is the one that holds now, whatever the process believes it to be. */
  async #catalogue(
    of: unknown,
    ask: (target: PostgresTarget, database: string) => Promise<unknown>,
  ): Promise<unknown> {
    const { target: name, database } = of as DatabaseNamed;
    const target = this.#deps.settings().config.targets.get(String(name));
    if (target === undefined || !speaks(target, "postgres"))
      throw new GatewayError("not_found", "the target was taken away");
    if (target.databases?.includes(String(database)) === false)
      throw new GatewayError(
        "not_found",
        `target ${target.name} has no such database for sessions`,
      );
    return await ask(target, String(database));
  }

  #cancel(cancel: CancelKey, from: DataProcess): void {
    for (const one of this.#running.values()) if (one !== from) one.link.offer("cancel", cancel);
  }

  async #untilGone(one: DataProcess, abandon: () => Promise<void>): Promise<void> {
    const code = await one.exited;
    one.link.close();
    const wasRunning = this.#running.get(one.worker) === one && this.#running.delete(one.worker);
    await abandon().catch(this.#deps.onFault);
    if (this.#isStopping || !wasRunning) return;
    if (code === EXIT_EVIDENCE) {
      this.#deps.onFailure(
        new GatewayError("evidence_unavailable", `the journal of worker ${one.worker} failed`),
      );
      return;
    }
    this.#deps.log(`data process ${one.worker} died (${code}); its sessions are gone`);
    await this.#startAgain(one.worker);
  }

  async #startAgain(worker: number): Promise<void> {
    const nowMs = performance.now();
    this.#deathsMs = this.#deathsMs.filter((atMs) => nowMs - atMs < DEATHS_WITHIN_MS);
    this.#deathsMs.push(nowMs);
    if (this.#deathsMs.length > MAX_DEATHS) {
      this.#deps.onFailure(new GatewayError("internal", "data processes die again and again"));
      return;
    }
    try {
      await this.#startOne(worker);
      this.#deps.log(`data process ${worker} was started again`);
    } catch (thrown) {
      if (this.#isStopping) return;
      this.#deps.log(`data process ${worker} could not be started again`, thrown);
      await this.#startAgain(worker);
    }
  }
}

function placeOf(place: unknown): DurablePlace {
  const { segment, offset } = place as DurablePlace;
  if (Number.isSafeInteger(segment) && Number.isSafeInteger(offset)) return { segment, offset };
  throw new GatewayError("internal", "a place in a journal that is none");
}

/** What a data process needs of the environment: it resolves no secret, so none is left in it. */
const KEPT = /^(PATH|HOME|LANG|LC_.*|TZ|TMPDIR|NODE_OPTIONS|NODE_EXTRA_CA_CERTS|SSL_CERT_.*)$/;

function environmentOf(): Record<string, string | undefined> {
  const environment: Record<string, string | undefined> = {};
  for (const name of Object.keys(process.env)) if (!KEPT.test(name)) environment[name] = undefined;
  const cache = getCompileCacheDir();
  return cache === undefined ? environment : { ...environment, NODE_COMPILE_CACHE: cache };
}
