// What the control process and a data process say to each other, beyond what sessions do
// (session/control-link.ts): how one is started, follows the configuration, says how far its journal is on
// disk, and stops.

import type { JournalMeter } from "../audit/journal-meter.ts";
import type { DurablePlace } from "../audit/sequencer.ts";
import type { MessagePort } from "../base/message-channel.ts";
import type { ListenerTls } from "../config/certificates.ts";
import type { Config } from "../config/config.ts";
import type { Settings } from "../live.ts";
import { createPolicySet, type Policy } from "../policy/policy-set.ts";
import type { CancelKey } from "../proxy/postgres/cancels.ts";
import type { DefinitionIds } from "../proxy/postgres/catalogue.ts";
import type { FilteredBy } from "../proxy/postgres/catalogue-replication.ts";
import type { CatalogueReader } from "../proxy/postgres/databases.ts";
import type { ControlMethods, SessionMethods } from "../session/control-link.ts";
import type { ListenerAddresses } from "./data-side.ts";

/** Settings as they cross: the policies were validated by the control process. */
export interface SettingsData {
  readonly config: Config;
  readonly policies: readonly Policy[];
  readonly policyVersion: string;
}

export interface DataStart {
  /** The number its journal and its leaves have. */
  readonly worker: number;
  readonly processes: number;
  readonly settings: SettingsData;
  readonly tls: ListenerTls;
  readonly issuer: string;
}

/** What a data process does when the control process asks. */
export type DataMethods = SessionMethods & {
  readonly start: (start: DataStart) => ListenerAddresses;
  /** Commands are judged by it from the next one on, once this has answered. */
  readonly apply: (settings: SettingsData) => undefined;
  readonly renew: (tls: ListenerTls) => undefined;
  /** Answers when everything appended so far is on disk. */
  readonly settle: (nothing: null) => DurablePlace;
  /** Whether leaves are wanted as they are written. */
  readonly tail: (wanted: boolean) => undefined;
  readonly cancel: (asked: CancelKey) => undefined;
  /** Ends listeners and sessions in order; the place where its journal ends. */
  readonly stop: (nothing: null) => DurablePlace;
};

/** What the control process does when a data process asks. */
export type HostMethods = ControlMethods & {
  readonly snapshot: (of: DatabaseNamed) => Awaited<ReturnType<CatalogueReader["snapshot"]>>;
  readonly mark: (of: DatabaseNamed) => string;
  readonly definitions: (of: DefinitionsNamed) => string;
  readonly rowFilters: (of: FilteredNamed) => Awaited<ReturnType<CatalogueReader["rowFilters"]>>;
  readonly slotDatabase: (of: SlotNamed) => string | undefined;
  readonly durable: (place: DurablePlace) => undefined;
  readonly report: (report: DataReport) => undefined;
  readonly leaves: (texts: readonly string[]) => undefined;
  /** A cancel whose session is not in this process. */
  readonly cancelElsewhere: (asked: CancelKey) => undefined;
};

export interface DefinitionsNamed extends DatabaseNamed {
  readonly of: DefinitionIds;
}

export interface FilteredNamed extends DatabaseNamed {
  readonly of: FilteredBy;
}

export interface SlotNamed extends DatabaseNamed {
  readonly slot: string;
}

export interface DatabaseNamed {
  readonly target: string;
  readonly database: string;
}

export interface DataReport {
  readonly meter: JournalMeter;
  readonly residentBytes: number;
}

/** A data process ends with it when its journal cannot be written: then nothing may go on. */
export const EXIT_EVIDENCE = 70;

export function settingsData({ config, policies }: Settings): SettingsData {
  return { config, policies: policies.policies, policyVersion: policies.version };
}

/** Throws when the policies did not arrive as they were: their version is made of their text. */
export function settingsOf({ config, policies, policyVersion }: SettingsData): Settings {
  const set = createPolicySet(policies);
  if (set.version !== policyVersion)
    throw new TypeError("the policies are not those that were sent");
  return { config, policies: set };
}

/** A process at either end of Node's own channel between processes. */
export interface ProcessEnd {
  send(message: unknown, taken: (error: Error | null) => void): void;
  on(event: "message", listener: (message: unknown) => void): unknown;
  on(event: "disconnect", listener: () => void): unknown;
  readonly isConnected: () => boolean;
  disconnect(): void;
}

export function processPort(end: ProcessEnd): MessagePort {
  return {
    send(message, taken) {
      if (end.isConnected()) end.send(message, taken);
      else setImmediate(taken, new Error("the process is gone"));
    },
    onMessage: (listener) => void end.on("message", listener),
    onClose: (listener) => void end.on("disconnect", listener),
    close() {
      if (end.isConnected()) end.disconnect();
    },
  };
}
