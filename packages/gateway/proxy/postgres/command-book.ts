// The books of one session: request ids, decisions, the leaves and the recording of each command. What
// is written here is written before the command is forwarded (intent) and after it was answered
// (outcome); the order on disk is the journal's.
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
} from "../../access/operation.ts";
import type { Journal, LeafDraft } from "../../audit/journal.ts";
import type { Chain } from "../../delegation/chain.ts";
import { commandDigest } from "../../recording/digest.ts";
import type { Recorder } from "../../recording/recorder.ts";
import type { DeniedCommand } from "../../session/recent-denials.ts";
import type { Exchange, Portal } from "./exchange.ts";
import type { QueryPlan } from "./plan.ts";

export interface CommandBookDeps {
  readonly access: Access;
  readonly journal: Journal;
  readonly recorder: Recorder;
  /** For who asks about it later by its request id. */
  readonly denied: (denied: DeniedCommand) => void;
}

const NOBODY_WAITS = () => undefined;
const MAX_EFFECTS_IN_LEAF = 32;
const MAX_COPY_RECORDED_BYTES = 1 << 20;

export class CommandBook {
  // Replaced, never changed: decisions are cached by it.
  #subject: Subject;
  readonly recorder: Recorder;
  readonly #access: Access;
  readonly #journal: Journal;
  readonly #keepDenial: CommandBookDeps["denied"];
  readonly #chain: readonly LeafHop[];
  readonly #requestPrefix: string;
  #requests = 0;

  constructor(subject: Subject, deps: CommandBookDeps) {
    this.#subject = { ...subject };
    this.recorder = deps.recorder;
    this.#access = deps.access;
    this.#journal = deps.journal;
    this.#keepDenial = deps.denied;
    this.#chain = leafChain(subject.chain);
    this.#requestPrefix = `r-${subject.sessionId.slice(2)}-`;
  }

  get subject(): Subject {
    return this.#subject;
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

  get policyVersion(): string {
    return this.#access.policyVersion;
  }

  /** Before the command is forwarded: the leaf, and the command itself into the recording. */
  intent(
    requestId: string,
    plan: QueryPlan,
    portal: Portal | undefined,
    permit: Permit,
    approvedBy: readonly string[] | undefined,
  ): void {
    this.recorder.command(requestId, plan.text, portal?.bind.parameters);
    const leaf: LeafDraft = {
      ...this.#about("command.intent", requestId, plan),
      decision: approvedBy === undefined ? "permit" : "approved",
      policies: permit.policyIds,
      policyVersion: permit.policyVersion,
      command: textDigest(plan),
      ...(portal === undefined || portal.bind.parameters.length === 0
        ? undefined
        : { parameters: portal.parametersDigest }),
      ...(approvedBy === undefined ? undefined : { detail: { approvedBy } }),
    };
    this.#journal.append(leaf);
  }

  /** A statement goes to the server to be prepared. */
  prepared(requestId: string, plan: QueryPlan, decision: "permit" | "hold"): void {
    this.#journal.append({
      ...this.#about("command.prepared", requestId, plan),
      decision,
      policyVersion: this.#access.policyVersion,
      command: textDigest(plan),
    });
  }

  denied(requestId: string, text: string, plan: QueryPlan | undefined, denial: Denial): void {
    this.recorder.command(requestId, text, undefined);
    this.#noteDenial(requestId, denial.what, plan?.operation, { denial, requirements: [] });
    this.recorder.event(requestId, "denied", {
      what: denial.what,
      message: denial.message,
      ...(denial.policyId === undefined ? undefined : { policy: denial.policyId }),
    });
    this.#journal.append({
      ...this.#about("command.denied", requestId, plan),
      decision: "deny",
      ...(denial.policyId === undefined ? undefined : { policies: [denial.policyId] }),
      policyVersion: this.#access.policyVersion,
      command: plan === undefined ? commandDigest(text) : textDigest(plan),
      detail: {
        kind: denial.kind,
        ...(denial.hop === undefined ? undefined : { hop: denial.hop }),
      },
    });
  }

  /** `how`: `ok`, an SQLSTATE, `skipped`, `suspended`, `disconnected`. */
  outcome(exchange: Exchange, how: string): void {
    if (!exchange.intent || exchange.requestId === undefined) return;
    this.#journal.append({
      event: "command.outcome",
      session: this.subject.sessionId,
      request: exchange.requestId,
      outcome: how,
      rows: exchange.rows,
      bytes: exchange.bytes,
      ...(exchange.masked.size === 0 ? undefined : { masked: [...exchange.masked] }),
    });
    // How a change ended is with the kernel as soon as its client knows; that of a read may wait for the
    // next command's intent.
    if (!exchange.plainRead) this.#journal.barrier("ordered", NOBODY_WAITS);
  }

  /** CopyData of a permitted COPY FROM STDIN; bounded, beyond it a count. */
  copied(exchange: Exchange | undefined, buffer: Buffer, start: number, end: number): void {
    if (exchange?.requestId === undefined) return;
    const before = exchange.bytes;
    exchange.bytes += end - start;
    if (before > MAX_COPY_RECORDED_BYTES) return;
    this.recorder.event(exchange.requestId, "copy_in", {
      type: buffer[start] ?? 0,
      data: buffer.toString("base64", start + 5, end),
    });
  }

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
      requestId,
      sessionId,
      chain,
      target,
      account,
      what,
      effects,
      touches,
      ...why,
    });
  }

  #about(event: LeafDraft["event"], requestId: string, plan: QueryPlan | undefined): LeafDraft {
    return {
      event,
      session: this.subject.sessionId,
      request: requestId,
      target: this.subject.target,
      account: this.subject.account,
      chain: this.#chain,
      ...(plan === undefined
        ? undefined
        : { effects: effectsOf(plan.operation, this.subject.target) }),
    };
  }
}

export function leafChain(chain: Chain): LeafHop[] {
  return chain.hops.map((hop) => ({
    d: hop.delegationId,
    s: hop.subject,
    k: hop.kind,
    p: hop.provenance,
  }));
}

const textDigests = new WeakMap<QueryPlan, string>();

/** Plans are interned, so a text is hashed once. */
export function textDigest(plan: QueryPlan): string {
  let known = textDigests.get(plan);
  if (known === undefined) {
    known = commandDigest(plan.text);
    textDigests.set(plan, known);
  }
  return known;
}

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
