// A request of the gateway's own on behalf of a chain, to show approvers something or to find out what a
// write would tell: permitted as every request is, in the journal before it is sent (I1), its answer bounded
// and never handed on as it is.

import { commandDigest } from "@custody/evidence/node/command-digest.ts";
import { readJson } from "@custody/wire/kubernetes/json-read.ts";
import { hasMoreValues } from "@custody/wire/kubernetes/json-strings.ts";
import { formatRequestUrl, type RequestUrl } from "@custody/wire/kubernetes/request-url.ts";
import type { Operation, Permit } from "../../access/operation.ts";
import { isPermit } from "../../access/permit.ts";
import type { Journal, LeafDraft } from "../../audit/journal.ts";
import { GatewayError } from "../../base/errors.ts";
import { wholeBody } from "./answer-body.ts";
import type { HttpSession } from "./http-session.ts";
import { type Json, MAX_VALUES } from "./json-text.ts";

export interface OwnRequestDeps {
  readonly journal: Journal;
  readonly limits: { readonly maxObjectBytes: number };
}

export interface Exchange {
  readonly method: string;
  readonly url: RequestUrl;
  readonly accept: string;
  readonly body: Buffer | undefined;
  readonly contentType: string | undefined;
  readonly operation: Operation;
  readonly permit: Permit;
}

export interface OwnRequest extends Exchange {
  /** What it is for, in its leaf. */
  readonly detail: LeafDraft["detail"];
}

/** `value` undefined: what came is no JSON. Throws GatewayError for what does not come at all. */
export async function ownRequest(
  deps: OwnRequestDeps,
  session: HttpSession,
  { method, url, accept, body, contentType, operation, permit, detail }: OwnRequest,
  signal: AbortSignal,
): Promise<{ readonly status: number; readonly value: Json | undefined }> {
  const { book } = session;
  if (!isPermit(permit)) throw new GatewayError("internal", "a request without a permit");
  const path = formatRequestUrl(url);
  const requestId = book.nextRequestId();
  const text = Buffer.concat([Buffer.from(`${method} ${path}\n`), body ?? Buffer.alloc(0)]);
  book.recorder.command(requestId, text, undefined, permit.obligations.record);
  const command = { requestId, operation, digest: commandDigest(text), detail };
  book.beginCommand(command, permit, undefined);
  let outcome = "broken";
  let bytes = 0;
  try {
    await new Promise<void>((done) => deps.journal.barrier("strict", done));
    signal.throwIfAborted();
    const answer = await session.upstream.request({
      ...{ method, path, body, signal },
      headers: {
        ...{ accept, "accept-encoding": "identity", "audit-id": requestId },
        "user-agent": `custody/${session.id}`,
        ...(contentType === undefined ? {} : { "content-type": contentType }),
      },
    });
    const whole = await wholeBody(answer.body, deps.limits.maxObjectBytes);
    bytes = whole.length;
    outcome = answer.status < 400 ? "ok" : String(answer.status);
    return { status: answer.status, value: jsonOf(whole) };
  } finally {
    book.endCommand({ requestId, outcome, bytes });
    book.recorder.endData(requestId, 0);
  }
}

/** For people to read and for yes or no: numbers may lose digits. */
function jsonOf(bytes: Buffer): Json | undefined {
  try {
    const text = bytes.toString("utf8");
    return hasMoreValues(text, MAX_VALUES) ? undefined : (readJson(text) as Json);
  } catch {
    return undefined;
  }
}
