// Cosigned heads: every so often the published checkpoint is shown to the configured witnesses, and when
// enough of them have cosigned it, it is put beside the log with their lines: `<data>/log/cosigned`. Commands
// never wait for any of it. A gateway whose log a witness has seen more of is not started: that is a
// restored backup, or a second gateway on a copy (a fork).
//
// Owns `cosigned`. Runs beside the control side; one round at a time.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { parseCheckpoint } from "@custody/evidence/core/checkpoint.ts";
import { parseNote } from "@custody/evidence/core/note.ts";
import type { GatewayError } from "../base/errors.ts";
import type { LogFiles } from "./log-files.ts";
import { aheadOfUs } from "./log-head.ts";
import { expectedHeads, type LogFolder, publishedHeads, type ShardHead } from "./log-shards.ts";
import { askWitness, provenFork, type Witness } from "./witnesses.ts";

export interface CosigningDeps extends LogFolder {
  readonly files: LogFiles;
  readonly witnesses: readonly Witness[];
  /** How many have to cosign before a head is `cosigned`. */
  readonly quorum: number;
  readonly everyMs: number;
  /** For the operator. */
  readonly onProblem: (message: string) => void;
  /** A witness has a head of this log, signed with its key, that is not this log: nothing may go on. */
  readonly onFork: (error: GatewayError) => void;
}

export interface Cosigning extends AsyncDisposable {
  /** Records in the head that enough witnesses cosigned. */
  readonly cosignedSize: number;
  /** One round now; resolves when it is over. */
  round(): Promise<void>;
}

/**
 * Before anything is published. Throws GatewayError "evidence_unavailable" when a witness has seen more than
 * is here, or something else; one that cannot be reached is a problem and no reason.
 */
export async function refuseIfBehind(deps: CosigningDeps): Promise<void> {
  const heads = expectedHeads(deps);
  await Promise.all(
    deps.witnesses.map(async (witness) => {
      for (const head of heads) await refuseIfSeenMore(deps, witness, head);
    }),
  );
}

async function refuseIfSeenMore(
  deps: CosigningDeps,
  witness: Witness,
  head: ShardHead,
): Promise<void> {
  const who = nameOf(witness, head);
  const { published, directory } = head;
  if (published === undefined) {
    const theirs = await provenFork(witness, head).catch(() => undefined);
    if (theirs !== undefined) throw aheadOfUs(who, theirs.size, 0);
    return;
  }
  const said = await askWitness(witness, { ...published, directory });
  if (said.kind === "ahead") throw aheadOfUs(who, said.size, published.checkpoint.size);
  if (said.kind === "forked") throw aheadOfUs(who, undefined, undefined);
  if (said.kind === "failed") deps.onProblem(`${who}: ${said.why}`);
}

export function startCosigning(deps: CosigningDeps): Cosigning {
  let running: Promise<void> | undefined;
  /** By witness and shard: said once, until it changes. */
  const said = new Map<string, string>();
  const note = (who: string, problem: string): void => {
    if ((said.get(who) ?? "") === problem) return;
    said.set(who, problem);
    if (problem !== "") deps.onProblem(`${who}: ${problem}`);
  };
  /** By shard: how many records of it are in its cosigned head. */
  const sizes = new Map<string, number>();
  const sizeOf = ({ name, directory }: ShardHead): number => {
    if (!sizes.has(name)) sizes.set(name, readCosignedSize(directory));
    return sizes.get(name) ?? 0;
  };
  const cosign = async (head: ShardHead): Promise<void> => {
    const { published, directory, name } = head;
    if (published === undefined || published.checkpoint.size === sizeOf(head)) return;
    const answers = await Promise.all(
      deps.witnesses.map(async (witness) => ({
        witness,
        said: await askWitness(witness, { ...published, directory }),
      })),
    );
    let lines = "";
    let signers = 0;
    for (const { witness, said } of answers) {
      const who = nameOf(witness, head);
      if (said.kind === "cosigned") {
        lines += said.lines;
        signers++;
        note(who, "");
      } else if (said.kind === "failed") note(who, said.why);
      else await suspect(deps, witness, head, (problem) => note(who, problem));
    }
    if (signers < deps.quorum) return;
    deps.files.replace(join(directory, COSIGNED), Buffer.from(published.note + lines, "utf8"));
    sizes.set(name, published.checkpoint.size);
  };
  // The last head of a shard before any of the next.
  const round = async (): Promise<void> => {
    for (const head of publishedHeads(deps)) await cosign(head);
  };
  const once = (): Promise<void> => {
    running ??= round()
      .catch((error: unknown) => deps.onProblem(`cosigning failed: ${String(error)}`))
      .finally(() => {
        running = undefined;
      });
    return running;
  };
  const timer = setInterval(() => void once(), deps.everyMs);
  timer.unref();
  return {
    get cosignedSize() {
      const newest = publishedHeads(deps).findLast((head) => sizeOf(head) > 0);
      return newest === undefined ? 0 : newest.before + sizeOf(newest);
    },
    round: once,
    async [Symbol.asyncDispose]() {
      clearInterval(timer);
      await running;
    },
  };
}

/** The word of a witness alone does not stop a gateway that runs; a head with our own signature does. */
async function suspect(
  deps: CosigningDeps,
  witness: Witness,
  head: ShardHead,
  note: (problem: string) => void,
): Promise<void> {
  const theirs = await provenFork(witness, head).catch(() => undefined);
  // It may have grown here meanwhile.
  const now = publishedHeads(deps).find(({ name }) => name === head.name);
  const isProven =
    theirs !== undefined &&
    (await provenFork(witness, now ?? { ...head, published: undefined }).catch(() => undefined));
  if (isProven) deps.onFork(aheadOfUs(nameOf(witness, head), undefined, undefined));
  else note("it says that it has seen another log than this");
}

const COSIGNED = "cosigned";

function nameOf(witness: Witness, { name }: ShardHead): string {
  return `the witness ${witness.name}${name === "" ? "" : ` (shard ${name})`}`;
}

function readCosignedSize(directory: string): number {
  try {
    const { text } = parseNote(readFileSync(join(directory, COSIGNED)));
    return parseCheckpoint(text).size;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return 0;
    throw error;
  }
}
