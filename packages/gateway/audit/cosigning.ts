// Cosigned heads: every so often the published checkpoint is shown to the configured witnesses, and when
// enough of them have cosigned it, it is put beside the log with their lines: `<data>/log/cosigned`. Commands
// never wait for any of it. A gateway whose log a witness has seen more of is not started: that is a
// restored backup, or a second gateway on a copy (a fork).
//
// Owns `cosigned`. Runs beside the control side; one round at a time.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { type Checkpoint, parseCheckpoint } from "@custody/evidence/core/checkpoint.ts";
import { parseNote } from "@custody/evidence/core/note.ts";
import type { GatewayError } from "../base/errors.ts";
import type { LogFiles } from "./log-files.ts";
import { aheadOfUs } from "./log-head.ts";
import type { LogKey } from "./log-key.ts";
import { askWitness, type PublishedHead, provenFork, type Witness } from "./witnesses.ts";

export interface CosigningDeps {
  readonly logDirectory: string;
  readonly key: LogKey;
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
  const head = readPublished(deps);
  await Promise.all(
    deps.witnesses.map(async (witness) => {
      if (head === undefined) {
        const theirs = await provenFork(witness, deps.key, head, deps.logDirectory).catch(
          () => undefined,
        );
        if (theirs !== undefined) throw aheadOfUs(`the witness ${witness.name}`, theirs.size, 0);
        return;
      }
      const said = await askWitness(witness, head);
      const { size } = head.checkpoint;
      if (said.kind === "ahead") throw aheadOfUs(`the witness ${witness.name}`, said.size, size);
      if (said.kind === "forked") throw forked(witness);
      if (said.kind === "failed") deps.onProblem(`the witness ${witness.name}: ${said.why}`);
    }),
  );
}

export function startCosigning(deps: CosigningDeps): Cosigning {
  let cosigned = readCosigned(deps)?.size ?? 0;
  let running: Promise<void> | undefined;
  /** Per witness: said once, until it changes. */
  const said = new Map<Witness, string>();
  const note = (witness: Witness, problem: string): void => {
    if (said.get(witness) === problem) return;
    said.set(witness, problem);
    if (problem !== "") deps.onProblem(`the witness ${witness.name}: ${problem}`);
  };
  const round = async (): Promise<void> => {
    const head = readPublished(deps);
    if (head === undefined || head.checkpoint.size === cosigned) return;
    const answers = await Promise.all(
      deps.witnesses.map(async (witness) => ({ witness, said: await askWitness(witness, head) })),
    );
    let lines = "";
    let signers = 0;
    for (const { witness, said } of answers) {
      if (said.kind === "cosigned") {
        lines += said.lines;
        signers++;
        note(witness, "");
      } else if (said.kind === "failed") note(witness, said.why);
      else await suspect(deps, witness, head, (problem) => note(witness, problem));
    }
    if (signers < deps.quorum) return;
    deps.files.replace(cosignedPath(deps), Buffer.from(head.note + lines, "utf8"));
    cosigned = head.checkpoint.size;
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
      return cosigned;
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
  head: PublishedHead,
  note: (problem: string) => void,
): Promise<void> {
  const { key, logDirectory } = deps;
  const theirs = await provenFork(witness, key, head, logDirectory).catch(() => undefined);
  // It may have grown here meanwhile.
  const isProven =
    theirs !== undefined &&
    (await provenFork(witness, key, readPublished(deps), logDirectory).catch(() => undefined));
  if (isProven) deps.onFork(forked(witness));
  else note("it says that it has seen another log than this");
}

function forked(witness: Witness): GatewayError {
  return aheadOfUs(`the witness ${witness.name}`, undefined, undefined);
}

function cosignedPath({ logDirectory }: CosigningDeps): string {
  return join(logDirectory, "cosigned");
}

function readPublished({ logDirectory }: CosigningDeps): PublishedHead | undefined {
  const note = readText(join(logDirectory, "checkpoint"));
  if (note === undefined) return undefined;
  const checkpoint = parseCheckpoint(parseNote(Buffer.from(note, "utf8")).text);
  return { note, checkpoint, logDirectory };
}

function readCosigned(deps: CosigningDeps): Checkpoint | undefined {
  const note = readText(cosignedPath(deps));
  return note === undefined
    ? undefined
    : parseCheckpoint(parseNote(Buffer.from(note, "utf8")).text);
}

function readText(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}
