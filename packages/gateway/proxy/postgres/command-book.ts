// The books of a PostgreSQL session: session/session-book.ts with what only this protocol knows, how a
// statement, its parameters and COPY data are recorded and which outcomes need a barrier.
//
// Who owns the state: one a session; the journal and the recorder are the session's.

import { commandDigest } from "@custody/evidence/node/command-digest.ts";
import { FRONTEND } from "@custody/wire/postgres/frontend.ts";
import type { Denial, Permit } from "../../access/operation.ts";
import { type BookedCommand, SessionBook } from "../../session/session-book.ts";
import type { Exchange, Portal } from "./exchange.ts";
import type { QueryPlan } from "./plan.ts";

const NOBODY_WAITS = () => undefined;

export class CommandBook extends SessionBook {
  /** Before the command is forwarded: the leaf, and the command itself into the recording. */
  intent(
    requestId: string,
    plan: QueryPlan,
    portal: Portal | undefined,
    permit: Permit,
    approvedBy: readonly string[] | undefined,
  ): void {
    const level = permit.obligations.record;
    // The plan of a portal runs again; that of a Query is often made for its text alone.
    const text = portal === undefined ? plan.text : textBytes(plan);
    this.recorder.command(requestId, text, portal?.bind.parameters, level);
    const hasParameters = portal !== undefined && portal.bind.parameters.length > 0;
    const parameters = hasParameters ? portal.parametersDigest : undefined;
    this.beginCommand({ ...booked(requestId, plan), parameters }, permit, approvedBy);
  }

  /** A statement goes to the server to be prepared. */
  prepared(requestId: string, plan: QueryPlan, decision: "permit" | "hold"): void {
    this.prepareCommand(booked(requestId, plan), decision);
  }

  denied(requestId: string, text: string, plan: QueryPlan | undefined, denial: Denial): void {
    this.recorder.command(requestId, text, undefined);
    const digest = plan === undefined ? commandDigest(text) : textDigest(plan);
    this.refuseCommand({ requestId, operation: plan?.operation, digest }, denial);
  }

  /** `how`: `ok`, an SQLSTATE, `skipped`, `suspended`, `disconnected`. */
  outcome(exchange: Exchange, how: string): void {
    const { requestId, rows, bytes, masked } = exchange;
    if (!exchange.intent || requestId === undefined) return;
    this.recorder.endData(requestId, 0);
    this.endCommand({ requestId, outcome: how, rows, bytes, masked });
    // How a change ended is with the kernel as soon as its client knows; that of a read may wait for the
    // next command's intent.
    if (!exchange.plainRead) this.journal.barrier("ordered", NOBODY_WAITS);
  }

  /** What the client sends after a permitted COPY FROM STDIN: the rows, up to the recorder's limit. */
  copied(exchange: Exchange | undefined, buffer: Buffer, start: number, end: number): void {
    if (exchange?.requestId === undefined) return;
    exchange.bytes += end - start;
    if (buffer[start] !== FRONTEND.copyData) return;
    const rows = buffer.subarray(start + 5, end);
    this.recorder.data(exchange.requestId, 0, "upload", rows, exchange.obligations?.record);
  }
}

function booked(requestId: string, plan: QueryPlan): BookedCommand {
  return { requestId, operation: plan.operation, digest: textDigest(plan) };
}

const textsAsBytes = new WeakMap<QueryPlan, Buffer>();
/** Longer ones are not kept twice. */
const MAX_KEPT_TEXT_BYTES = 4_096;

function textBytes(plan: QueryPlan): Buffer {
  let known = textsAsBytes.get(plan);
  if (known === undefined) {
    known = Buffer.from(plan.text, "utf8");
    if (known.length <= MAX_KEPT_TEXT_BYTES) textsAsBytes.set(plan, known);
  }
  return known;
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
