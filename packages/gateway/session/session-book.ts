// The books of one session, whatever it speaks: request ids, decisions, and the leaves of each command.
// The intent is written before the command is forwarded, the outcome after it was answered; the order
// on disk is the journal's. A protocol adds what only it knows: the recording of its commands, its
// barriers, its wording.
//
// Who owns the state: one a session; the journal and the recorder are the session's.

import type { LeafHop } from "@custody/evidence/core/leaf.ts";
import type {
  Access,
  Decision,
  Denial,
  Operation,
  Permit,
  Requirement,
  Subject,
} from "../access/operation.ts";
import type { Journal, LeafDraft } from "../audit/journal.ts";
import type { Chain } from "../delegation/chain.ts";
import { leafChain } from "../delegation/leaf-chain.ts";
import type { Recorder } from "../recording/recorder.ts";
import { UNMASKED_EVENT } from "../recording/shown.ts";
import type { DeniedCommand } from "./recent-denials.ts";

export interface SessionBookDeps {
  readonly access: Access;
  readonly journal: Journal;
  readonly recorder: Recorder;
  /** For who asks about it later by its request id. */
  readonly denied: (denied: DeniedCommand) => void;
}

/** A command as its leaves name it: nothing of what was sent but digests. */
export interface BookedCommand {
  readonly requestId: string;
  /** undefined: it could not be told what it does. */
  readonly operation: Operation | undefined;
  /** evidence/node/command-digest.ts `commandDigest` of the command as it was sent. */
  readonly digest: string;
  /** Digest of its parameters, where it has any. */
  readonly parameters?: string | undefined;
  /** More about it, for the log. */
  readonly detail?: LeafDraft["detail"];
}

export interface CommandEnd {
  readonly requestId: string;
  /** `ok`, the protocol's own code of an error, `skipped`, `disconnected`. */
  readonly outcome: string;
  readonly rows?: number;
  readonly bytes?: number;
  /** Classes that were masked in what the client got. */
  readonly masked?: ReadonlySet<string> | undefined;
  readonly detail?: LeafDraft["detail"];
}

const MAX_EFFECTS_IN_LEAF = 32;

export class SessionBook {
  // Replaced, never changed: decisions are cached by it.
  #subject: Subject;
  readonly recorder: Recorder;
  protected readonly journal: Journal;
  readonly #access: Access;
  readonly #keepDenial: SessionBookDeps["denied"];
  readonly #chain: readonly LeafHop[];
  readonly #requestPrefix: string;
  #requests = 0;

  constructor(subject: Subject, deps: SessionBookDeps) {
    this.#subject = { ...subject };
    this.recorder = deps.recorder;
    this.journal = deps.journal;
    this.#access = deps.access;
    this.#keepDenial = deps.denied;
    this.#chain = leafChain(subject.chain);
    this.#requestPrefix = `r-${subject.sessionId.slice(2)}-`;
  }

  get subject(): Subject {
    return this.#subject;
  }

  get policyVersion(): string {
    return this.#access.policyVersion;
  }

  /** Why, in the requestor's words, for the commands that follow. */
  justify(justification: string | undefined): void {
    this.#subject = { ...this.#subject, justification };
  }

  /** The same hops with other groups: the commands that follow are judged by it. */
  replaceChain(chain: Chain): void {
    this.#subject = { ...this.#subject, chain };
  }

  /** `r-<session>-<n>`: unique, and says which session it belongs to. */
  nextRequestId(): string {
    this.#requests += 1;
    return this.#requestPrefix + this.#requests;
  }

  decide(operation: Operation): Decision {
    return this.#access.authorize(this.subject, operation);
  }

  decideApproved(operation: Operation, met: readonly string[]): Decision {
    return this.#access.authorizeApproved(this.subject, operation, met);
  }

  // One intent and one outcome go with every command: both give every member of a leaf, in its order, so
  // that the journal sees objects of one shape.

  /** `command.intent`; a barrier of the journal goes before the command is forwarded (I1). */
  beginCommand(
    command: BookedCommand,
    permit: Permit,
    approvedBy: readonly string[] | undefined,
  ): void {
    const { sessionId, target, account } = this.#subject;
    const { requestId, operation, digest, parameters } = command;
    const { recordMode, unmask } = permit.obligations;
    this.recorder.begin(requestId, recordMode);
    const unmasked = unmask.size === 0 ? undefined : [...unmask];
    this.journal.append({
      event: "command.intent",
      session: sessionId,
      request: requestId,
      target,
      account,
      chain: this.#chain,
      effects: operation === undefined ? undefined : effectsOf(operation, target),
      decision: approvedBy === undefined ? "permit" : "approved",
      policies: permit.policyIds,
      policyVersion: permit.policyVersion,
      command: digest,
      parameters,
      masked: undefined,
      outcome: undefined,
      rows: undefined,
      bytes: undefined,
      detail: intentDetail(command.detail, approvedBy, unmasked),
    });
    // Before its answer: who may not unmask these is not shown that in a replay.
    if (unmasked !== undefined)
      this.recorder.event(requestId, UNMASKED_EVENT, { classes: unmasked });
  }

  /** `command.prepared`: it was given to the target to be prepared, which runs nothing. */
  prepareCommand(command: BookedCommand, decision: "permit" | "hold"): void {
    this.journal.append({
      ...this.#about("command.prepared", command),
      decision,
      policyVersion: this.policyVersion,
      command: command.digest,
    });
  }

  /** `command.denied`, in the log, in the recording, and for who asks why. */
  refuseCommand(command: BookedCommand, denial: Denial): void {
    this.#noteDenial(command.requestId, denial.what, command.operation, {
      denial,
      requirements: [],
    });
    this.recorder.event(command.requestId, "denied", {
      what: denial.what,
      message: denial.message,
      ...(denial.policyId === undefined ? undefined : { policy: denial.policyId }),
    });
    this.journal.append({
      ...this.#about("command.denied", command),
      decision: "deny",
      ...(denial.policyId === undefined ? undefined : { policies: [denial.policyId] }),
      policyVersion: this.policyVersion,
      command: command.digest,
      detail: {
        kind: denial.kind,
        ...(denial.hop === undefined ? undefined : { hop: denial.hop }),
      },
    });
  }

  /** `command.outcome` of one that was begun. */
  endCommand(end: CommandEnd): void {
    const { requestId, outcome, rows, bytes, masked, detail } = end;
    this.recorder.finish(requestId);
    this.journal.append({
      event: "command.outcome",
      session: this.#subject.sessionId,
      request: requestId,
      target: undefined,
      account: undefined,
      chain: undefined,
      effects: undefined,
      decision: undefined,
      policies: undefined,
      policyVersion: undefined,
      command: undefined,
      parameters: undefined,
      masked: masked === undefined || masked.size === 0 ? undefined : [...masked],
      outcome,
      rows,
      bytes,
      detail,
    });
  }

  /** It waits for people; the request has leaves of its own. */
  held(requestId: string, what: string, requirements: readonly Requirement[]): void {
    this.#noteDenial(requestId, what, undefined, { denial: undefined, requirements });
    this.recorder.event(requestId, "held", {
      what,
      policies: requirements.map((requirement) => requirement.policyId),
    });
  }

  #noteDenial(
    requestId: string,
    what: string,
    operation: Operation | undefined,
    why: Pick<DeniedCommand, "denial" | "requirements">,
  ): void {
    const { sessionId, chain, target, account } = this.subject;
    const { effects, touches } = operation ?? { effects: [], touches: [] };
    this.#keepDenial({
      ...{ requestId, sessionId, chain, target, account, what, effects, touches },
      ...why,
    });
  }

  #about(event: LeafDraft["event"], { requestId, operation }: BookedCommand): LeafDraft {
    return {
      event,
      session: this.subject.sessionId,
      request: requestId,
      target: this.subject.target,
      account: this.subject.account,
      chain: this.#chain,
      ...(operation === undefined
        ? undefined
        : { effects: effectsOf(operation, this.subject.target) }),
    };
  }
}

function intentDetail(
  detail: BookedCommand["detail"],
  approvedBy: readonly string[] | undefined,
  unmasked: readonly string[] | undefined,
): LeafDraft["detail"] {
  if (approvedBy === undefined && unmasked === undefined) return detail;
  return {
    ...detail,
    ...(approvedBy === undefined ? undefined : { approvedBy }),
    ...(unmasked === undefined ? undefined : { unmasked }),
  };
}

// Operations are interned, so their effects are written out once.
const effectTexts = new WeakMap<Operation, readonly string[]>();

function effectsOf(operation: Operation, target: string): readonly string[] {
  let known = effectTexts.get(operation);
  if (known === undefined) {
    const texts = new Set<string>();
    for (const effect of operation.effects) texts.add(`${effect.action} ${effect.resource.id}`);
    const all = texts.size === 0 ? [`none ${target}`] : [...texts];
    known =
      all.length <= MAX_EFFECTS_IN_LEAF
        ? all
        : [...all.slice(0, MAX_EFFECTS_IN_LEAF), `+${all.length - MAX_EFFECTS_IN_LEAF}`];
    effectTexts.set(operation, known);
  }
  return known;
}
