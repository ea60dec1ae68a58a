// What of the log goes outside: heads to witnesses and anchors. Before anything is published they are asked
// whether they have seen more of this log than is here; afterwards they are shown every new head. Nothing
// of it is on the way of a command.

import { readFileSync } from "node:fs";
import {
  type AnchoringDeps,
  type AnchorStore,
  folderAnchors,
  refuseIfAnchoredAhead,
  startAnchoring,
} from "../audit/anchors.ts";
import { type CosigningDeps, refuseIfBehind, startCosigning } from "../audit/cosigning.ts";
import { createLogFiles } from "../audit/log-files.ts";
import { type LogKeySettings, loadLogKey } from "../audit/log-key.ts";
import { logDirectory } from "../audit/log-shards.ts";
import { createOutbound, type Outbound } from "../audit/outbound.ts";
import { s3Anchors } from "../audit/s3-anchors.ts";
import { createWitness } from "../audit/witnesses.ts";
import { systemClock } from "../base/clock.ts";
import type { GatewayError } from "../base/errors.ts";
import { systemRandom } from "../base/ids.ts";
import type { Config, LogConfig, OutsideService } from "../config/config.ts";
import { createSecretResolver, type ResolveSecret } from "../credential/secrets.ts";

const TIMEOUT_MS = 5_000;

export interface Outward {
  /** Of the key that signs the log's heads, as its verifier key has it. */
  readonly logKeyId: string;
  /** Once the log is open. `stack` ends it after the log, whose last head it takes along. */
  start(stack: AsyncDisposableStack): OutwardState;
}

/** For metrics; undefined where it is not configured. */
export interface OutwardState {
  readonly cosignedSize: () => number | undefined;
  readonly anchoredSize: () => number | undefined;
}

export function logKeyOf({ log }: Config): LogKeySettings {
  return { signer: log.signer, postQuantum: log.postQuantum };
}

/** Rejects with GatewayError "evidence_unavailable" when they have seen more of the log than is here. */
export async function lookOutward(
  config: Config,
  outside: {
    readonly log: (message: string) => void;
    readonly onFailure: (error: GatewayError) => void;
    /** For references to secrets. */
    readonly environment: Readonly<Record<string, string | undefined>>;
  },
): Promise<Outward> {
  const { dataDirectory, log } = config;
  const resolveSecret = createSecretResolver({
    ...{ dataDirectory, environment: outside.environment },
    timeoutMs: config.limits.secretTimeoutMs,
  });
  const outbounds = new AsyncDisposableStack();
  const outbound = ({ caFile }: OutsideService): Outbound =>
    outbounds.use(
      createOutbound(caFile === undefined ? undefined : readFileSync(caFile, "utf8"), TIMEOUT_MS),
    );
  const shared = {
    logDirectory: logDirectory(dataDirectory),
    key: loadLogKey(dataDirectory, systemRandom, logKeyOf(config)),
    sharding: log.shards && { period: log.shards, nowMs: systemClock.nowMs },
    onProblem: (message: string) => outside.log(message),
    onFork: outside.onFailure,
  };
  const cosigning: CosigningDeps = {
    ...shared,
    files: createLogFiles(),
    witnesses: log.witnesses.map((one) => createWitness(one, outbound(one))),
    quorum: log.quorum,
    everyMs: log.cosignEveryMs,
  };
  const { anchors } = log;
  const anchoring: AnchoringDeps | undefined = anchors && {
    ...shared,
    stores: anchorStores(anchors, resolveSecret, outbound),
    timeStamps: anchors.timeStamps && {
      url: anchors.timeStamps.url,
      outbound: outbound(anchors.timeStamps),
    },
    random: systemRandom,
    everyMs: anchors.everyMs,
  };
  try {
    await refuseIfBehind(cosigning);
    if (anchoring !== undefined) await refuseIfAnchoredAhead(anchoring);
  } catch (error) {
    await outbounds.disposeAsync();
    throw error;
  }
  return {
    logKeyId: shared.key.vkey.split("+")[1] ?? "",
    start(stack) {
      stack.use(outbounds);
      const anchored = anchoring && stack.use(startAnchoring(anchoring));
      const cosigned =
        cosigning.witnesses.length === 0 ? undefined : stack.use(startCosigning(cosigning));
      return {
        cosignedSize: () => cosigned?.cosignedSize,
        anchoredSize: () => anchored?.anchoredSize,
      };
    },
  };
}

function anchorStores(
  { folder, bucket }: NonNullable<LogConfig["anchors"]>,
  resolveSecret: ResolveSecret,
  outbound: (service: OutsideService) => Outbound,
): AnchorStore[] {
  const stores: AnchorStore[] = [];
  if (folder !== undefined) stores.push(folderAnchors(folder));
  if (bucket !== undefined) {
    const { url, region, retainMs } = bucket;
    const key = async () => ({
      id: (await resolveSecret(bucket.keyId)).reveal(),
      secret: (await resolveSecret(bucket.key)).reveal(),
    });
    const to = outbound(bucket);
    stores.push(s3Anchors({ url, region, retainMs, key, outbound: to, clock: systemClock }));
  }
  return stores;
}
