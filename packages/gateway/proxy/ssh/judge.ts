// One operation from question to permit: decided, held where people have to consent, written down, and
// only then let through (I1). Every kind of SSH request goes through here, and nothing else makes a
// request of the target's possible.
//
// A line of many commands below a long chain is many questions to policies: they are asked a few a turn, one
// line of a session at a time, and then the whole is decided from the answers.
//
// Who owns the state: one judge a session; waits that can be cancelled belong to whoever asked.

import { setTimeout as delay, setImmediate as turn } from "node:timers/promises";
import type { RecordingLevel } from "@custody/evidence/core/recording.ts";
import { commandDigest } from "@custody/evidence/node/command-digest.ts";
import type { Denial, Operation, Permit } from "../../access/operation.ts";
import type { Durability, Journal } from "../../audit/journal.ts";
import type { Clock } from "../../base/clock.ts";
import { toGatewayError } from "../../base/errors.ts";
import type { Detection } from "../../masking/nets.ts";
import type { Control } from "../../session/control.ts";
import { type HeldDecision, HoldWait } from "../../session/hold-wait.ts";
import type { SessionBook } from "../../session/session-book.ts";
import { denialLines, EXIT, faultLines, type Lines, noticeLines, refusalLines } from "./wording.ts";

const CLOSING_POLL_MS = 20;
/** Of hop and effect; each may cost most of a millisecond when it was never asked before. */
const PAIRS_A_TURN = 32;
/** Lines of a session that are too long for one turn. */
const MAX_PREPARED = 16;

export interface JudgeDeps {
  readonly book: SessionBook;
  readonly journal: Pick<Journal, "barrier">;
  readonly control: Pick<Control, "requestApproval" | "leaveHold" | "spendApproval">;
  readonly clock: Clock;
  readonly holdWaitMs: number;
  readonly holdReminderMs: number;
  /** What the target can have masked in what it answers. */
  readonly detect: readonly Detection[];
}

export interface Asked {
  /** undefined: it cannot be understood, for the reason given. */
  readonly operation: Operation | Denial;
  /** As the client sent it. */
  readonly command: Buffer | string;
  /** What the target will get, and all else that an approval is bound to. */
  readonly bound: readonly unknown[];
  /** A plain reading is written before it goes on, everything else is on disk. */
  readonly durability: Durability;
  /** For people, while it waits. */
  readonly tell: (lines: Lines) => void;
  /** How to end the wait; called once when it begins. */
  readonly onWait?: (cancel: () => void) => void;
}

export type Verdict =
  | {
      readonly verdict: "permit";
      readonly requestId: string;
      readonly permit: Permit;
      readonly level: RecordingLevel | undefined;
      /** What is to be masked in what is answered. */
      readonly masks: readonly Detection[];
      /** People consented, so time has passed since it was asked. */
      readonly isApproved: boolean;
    }
  | {
      readonly verdict: "deny";
      readonly requestId: string;
      readonly lines: Lines;
      readonly exit: number;
    };

export type Permitted = Extract<Verdict, { verdict: "permit" }>;

export class Judge {
  readonly #deps: JudgeDeps;
  readonly #pending = new Set<Promise<Verdict>>();
  readonly #waits = new Set<HoldWait>();
  #prepared = Promise.resolve();
  #preparing = 0;
  #isClosing = false;

  constructor(deps: JudgeDeps) {
    this.#deps = deps;
  }

  get book(): SessionBook {
    return this.#deps.book;
  }

  /** Never rejects. */
  judge(asked: Asked): Promise<Verdict> {
    const verdict = this.#judge(asked).finally(() => this.#pending.delete(verdict));
    this.#pending.add(verdict);
    return verdict;
  }

  /**
   * The session is over: what waits for people is cancelled. Settles when everything asked has its leaves,
   * and whoever asked has had a turn to write theirs.
   */
  async close(): Promise<void> {
    this.#isClosing = true;
    while (this.#pending.size > 0) {
      // A wait that is only about to begin cannot be cancelled yet.
      for (const wait of this.#waits) wait.cancel();
      await Promise.race([Promise.allSettled(this.#pending), delay(CLOSING_POLL_MS)]);
    }
    await delay(0);
  }

  async #judge(asked: Asked): Promise<Verdict> {
    const { book } = this.#deps;
    const requestId = book.nextRequestId();
    try {
      const { operation } = asked;
      if (!("effects" in operation)) return this.#deny(asked, requestId, operation, EXIT.denied);
      const unasked = this.#isLong(operation) ? await this.#prepare(operation) : undefined;
      if (unasked !== undefined) return this.#deny(asked, requestId, unasked, EXIT.denied);
      const decision = book.decide(operation);
      if (decision.verdict === "deny")
        return this.#deny(asked, requestId, decision.denial, EXIT.denied);
      if (decision.verdict === "permit")
        return await this.#permit(asked, operation, requestId, decision.permit, undefined);
      return await this.#hold(asked, operation, requestId, decision);
    } catch (thrown) {
      const lines = faultLines(toGatewayError(thrown));
      return { verdict: "deny", requestId, lines, exit: EXIT.failed };
    }
  }

  get #effectsATurn(): number {
    return Math.max(1, Math.floor(PAIRS_A_TURN / this.#deps.book.subject.chain.hops.length));
  }

  #isLong({ effects }: Operation): boolean {
    return effects.length > this.#effectsATurn;
  }

  /** So that deciding it finds its answers; a denial: it was not asked. */
  async #prepare(operation: Operation): Promise<Denial | undefined> {
    const { effects, summary } = operation;
    const size = this.#effectsATurn;
    if (this.#preparing >= MAX_PREPARED)
      return unknown(summary, "too many long commands of this session wait to be decided");
    this.#preparing += 1;
    const before = this.#prepared;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#prepared = promise;
    try {
      await before;
      for (let at = 0; at < effects.length; at += size) {
        if (this.#isClosing) return unknown(summary, "the session ended before it was decided");
        const some = effects.slice(at, at + size);
        this.#deps.book.decide({ ...operation, effects: some, touches: [] });
        await turn();
      }
    } finally {
      this.#preparing -= 1;
      resolve();
    }
    return undefined;
  }

  /** Whether it would be permitted as it is; nothing is written down. */
  permits(operation: Operation): boolean {
    return this.#deps.book.decide(operation).verdict === "permit";
  }

  /** Whether it would be permitted or held; nothing is written down. */
  mayBe(operation: Operation): boolean {
    return this.#deps.book.decide(operation).verdict !== "deny";
  }

  #deny(asked: Asked, requestId: string, denial: Denial, exit: number): Verdict {
    const { book } = this.#deps;
    const operation = "effects" in asked.operation ? asked.operation : undefined;
    book.recorder.command(requestId, asked.command, undefined);
    book.refuseCommand({ requestId, operation, digest: commandDigest(asked.command) }, denial);
    return { verdict: "deny", requestId, lines: denialLines(denial, requestId), exit };
  }

  #permit(
    asked: Asked,
    operation: Operation,
    requestId: string,
    permit: Permit,
    approvedBy: readonly string[] | undefined,
  ): Promise<Verdict> {
    const { book, detect, journal } = this.#deps;
    const masks = masksOf(permit, operation, detect);
    if ("kind" in masks) return Promise.resolve(this.#deny(asked, requestId, masks, EXIT.denied));
    const level = permit.obligations.record;
    book.recorder.command(requestId, asked.command, undefined, level);
    const digest = commandDigest(asked.command);
    book.beginCommand({ requestId, operation, digest }, permit, approvedBy);
    return new Promise((resolve) => {
      journal.barrier(asked.durability, () =>
        resolve({
          ...{ verdict: "permit", requestId, permit, level, masks },
          isApproved: approvedBy !== undefined,
        }),
      );
    });
  }

  async #hold(
    asked: Asked,
    operation: Operation,
    requestId: string,
    decision: HeldDecision,
  ): Promise<Verdict> {
    const { book, control, clock, holdReminderMs, holdWaitMs } = this.#deps;
    const wait = new HoldWait({ control, book, clock, reminderMs: holdReminderMs });
    const { command, bound } = asked;
    const waiting = {
      ...{ requestId, operation, parameters: [], bound: () => bound },
      text: typeof command === "string" ? command : command.toString("utf8"),
    };
    asked.onWait?.(() => wait.cancel());
    this.#waits.add(wait);
    const ended = await wait
      .wait(waiting, decision, holdWaitMs, (notice) => asked.tell(noticeLines(notice)))
      .finally(() => this.#waits.delete(wait));
    const end = wait.release(waiting, ended);
    if (end.kind === "released")
      return this.#permit(asked, operation, requestId, end.permit, end.approvedBy);
    const lines = refusalLines(end, decision, requestId);
    const how = end.kind === "refused" ? end.how : `it was ${end.kind} while it waited`;
    const isLate = end.kind === "refused" && end.isLate === true;
    const denial: Denial = {
      kind: "forbidden",
      what: decision.what,
      policyId: decision.requirements[0]?.policyId,
      message: `not approved, not executed: ${how}`,
      hop: undefined,
      hopLabel: undefined,
    };
    this.#deny(asked, requestId, denial, EXIT.refused);
    return { verdict: "deny", requestId, lines, exit: isLate ? EXIT.timedOut : EXIT.refused };
  }
}

/** What a permit has masked; a denial where the target's configuration says nothing of a class (I2). */
export function masksOf(
  { obligations }: Permit,
  { summary }: Operation,
  detect: readonly Detection[],
): readonly Detection[] | Denial {
  const { mask = [] } = obligations;
  const masks = detect.filter((one) => mask.includes(one.class));
  const missing = mask.find((name) => !masks.some((one) => one.class === name));
  if (missing === undefined) return masks;
  const message = `it is permitted with ${missing} masked, which this target does not detect`;
  return { ...unknown(summary, message), kind: "classified" };
}

/** A denial of what cannot be told from the request, whatever policies say (I2). */
export function unknown(what: string, message: string): Denial {
  return {
    kind: "unknown",
    what,
    policyId: undefined,
    message,
    hop: undefined,
    hopLabel: undefined,
  };
}
