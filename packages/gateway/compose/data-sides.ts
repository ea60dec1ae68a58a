// The data side as the control side has it: in this process, or in processes of its own where the
// configuration wants several (data-processes.ts).

import type { JournalMeter } from "../audit/journal-meter.ts";
import type { OpenJournal } from "../audit/journal-writer.ts";
import type { Certificates } from "../config/certificates.ts";
import type { Config } from "../config/config.ts";
import type { Settings } from "../live.ts";
import { type DataProcessesDeps, startDataProcesses } from "./data-processes.ts";
import { type DataSideDeps, type ListenerAddresses, listenForClients } from "./data-side.ts";
import { reserve } from "./listeners.ts";
import { contextOf } from "./tls.ts";

export interface DataSides {
  readonly addresses: ListenerAddresses;
  /** Resolves when every process judges by what holds now. */
  apply(settings: Settings): Promise<void>;
  /** What they counted in journals of their own. */
  readonly meters: readonly JournalMeter[];
  readonly residentBytes: number;
  readonly complete: boolean;
  /** Journals of their own: see OpenJournal. */
  settled(): Promise<void>;
  tail(listener: (leafJson: string) => void): () => void;
}

export interface DataSidesDeps
  extends Omit<
      DataSideDeps,
      "processes" | "cancelElsewhere" | "secureContext" | "certificate" | "config"
    >,
    Pick<DataProcessesDeps, "catalogue" | "endBackends" | "onDurable" | "onFault" | "onFailure"> {
  readonly settings: () => Settings;
  readonly certificates: Certificates;
}

/** Numbers of the journals that processes of the data side write; none when there is only this one. */
export function workersOf({ workers }: Config): readonly number[] {
  return workers === 1 ? [] : Array.from({ length: workers }, (_, index) => index + 1);
}

/** Listening when it returns. Throws GatewayError "configuration" when it cannot. */
export async function startDataSides(
  deps: DataSidesDeps,
  stack: AsyncDisposableStack,
): Promise<DataSides> {
  const { certificates, settings } = deps;
  const { config } = settings();
  const workers = workersOf(config);
  if (workers.length === 0) {
    const { addresses } = await listenForClients(
      {
        ...deps,
        config: () => settings().config,
        secureContext: contextOf(certificates),
        certificate: () => certificates.current(),
        processes: 1,
      },
      stack,
    );
    return { ...NOTHING_ELSEWHERE, addresses };
  }
  const listen = await sharedPorts(config.listen);
  const processes = stack.use(
    await startDataProcesses({
      ...deps,
      workers,
      settings: shared(settings, listen),
      tls: () => certificates.current(),
    }),
  );
  certificates.onRenew((tls) => processes.renew(tls));
  return processes;
}

const NOTHING_ELSEWHERE: Omit<DataSides, "addresses"> = {
  apply: () => Promise.resolve(),
  meters: [],
  residentBytes: 0,
  complete: true,
  settled: () => Promise.resolve(),
  tail: () => () => undefined,
};

/** This journal and those of data processes, as the control API reads them. */
export function journalsOf(
  journal: OpenJournal,
  others: () => Pick<DataSides, "settled" | "tail">,
): Pick<OpenJournal, "append" | "settled" | "tail"> {
  return {
    append: (leaf) => journal.append(leaf),
    async settled() {
      await Promise.all([journal.settled(), others().settled()]);
    },
    tail(listener) {
      const stops = [journal.tail(listener), others().tail(listener)];
      return () => {
        for (const stop of stops) stop();
      };
    },
  };
}

/** Ports that are any free one become numbers, so that every process, a later one too, listens there. */
async function sharedPorts(listen: Config["listen"]): Promise<Config["listen"]> {
  const { https, admin, ...forClients } = listen;
  const numbered = Object.entries(forClients).map(async ([name, at]) => [
    name,
    at === undefined ? undefined : await reserve(at),
  ]);
  return { ...listen, ...Object.fromEntries(await Promise.all(numbered)), https, admin };
}

/** The settings that hold, with these ports; the same value as long as they hold. */
function shared(settings: () => Settings, listen: Config["listen"]): () => Settings {
  let last: { readonly of: Settings; readonly made: Settings } | undefined;
  return () => {
    const now = settings();
    if (last?.of !== now) last = { of: now, made: { ...now, config: { ...now.config, listen } } };
    return last.made;
  };
}
