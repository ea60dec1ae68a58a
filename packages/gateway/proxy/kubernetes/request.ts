// One plain request: taken apart, judged, held where a policy says so, sent on in its canonical form, and
// its answer masked. No byte goes to the API server before the intent is in the journal (I1), and what is
// sent is made from what was judged alone: method, path, query, body and a short list of headers.

import { createHash } from "node:crypto";
import { commandDigest } from "@custody/evidence/node/command-digest.ts";
import { KubernetesWireError } from "@custody/wire/kubernetes/errors.ts";
import type { SplitLimits } from "@custody/wire/kubernetes/json-split.ts";
import { type RequestInfo, requestInfo } from "@custody/wire/kubernetes/request-info.ts";
import { formatRequestUrl, type RequestUrl } from "@custody/wire/kubernetes/request-url.ts";
import type { Denial, Operation, Permit } from "../../access/operation.ts";
import { isPermit } from "../../access/permit.ts";
import type { Journal } from "../../audit/journal.ts";
import type { Clock } from "../../base/clock.ts";
import { GatewayError, toGatewayError } from "../../base/errors.ts";
import type { MaskName } from "../../masking/masks.ts";
import type { Control } from "../../session/control.ts";
import { type HeldDecision, HoldWait, metBy, whoMayApprove } from "../../session/hold-wait.ts";
import type { BookedCommand } from "../../session/session-book.ts";
import { ENVIRONMENT_CLASS } from "../../target/kubernetes-target.ts";
import type { KubernetesTarget } from "../../target/target.ts";
import { type AnswerForm, type ClientAnswer, MAX_FRAME_BYTES, relayAnswer } from "./answer.ts";
import { type AnswerMaskPlan, createAnswerMask } from "./answer-mask.ts";
import { maskedBody } from "./approver-mask.ts";
import { bodyFacts } from "./body-facts.ts";
import { comparisonOf, type Unchanged } from "./comparing-writes.ts";
import {
  denialStatus,
  refusedStatus,
  type Status,
  statusOf,
  unsupportedStatus,
  waitingStatus,
} from "./faults.ts";
import type { HttpSession } from "./http-session.ts";
import { createItemFilter, type ItemFilter } from "./item-filter.ts";
import { lacksJustification } from "./justification.ts";
import {
  fieldsOf,
  isFollowed,
  isLog,
  isRead,
  type Judged,
  judgeRequest,
  mayQuote,
  unpaged,
  withObjects,
} from "./operations.ts";
import { detectionsFor, OutputMasks, undetected } from "./output-masks.ts";
import { previewOf } from "./preview.ts";
import { type RequestBody, readBody, UnsupportedBody } from "./request-body.ts";
import { type EventSharing, shareMasking } from "./shared-events.ts";

export interface RequestLimits {
  readonly holdWaitMs: number;
  readonly holdReminderMs: number;
  /** Of one object of an answer. */
  readonly maxObjectBytes: number;
}

export interface RequestDeps {
  readonly control: Control;
  readonly journal: Journal;
  readonly clock: Clock;
  readonly limits: RequestLimits;
  readonly maskOf: (className: string) => MaskName;
  /**
   * A read's operation is one object as long as it is remembered: decisions are cached by it. By the
   * target as it was configured, for its classes are part of the operation.
   */
  readonly remembered: WeakMap<KubernetesTarget, Map<string, Operation>>;
  /** What many watches are told at once. */
  readonly events: EventSharing;
  readonly log: (message: string, error?: unknown) => void;
}

/** A request as it came in, its target's part of the path taken off. */
export interface ClientRequest {
  readonly method: string;
  readonly url: RequestUrl;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: Buffer;
}

interface Prepared {
  readonly requestId: string;
  readonly info: RequestInfo;
  readonly path: string;
  readonly body: RequestBody;
  readonly operation: Operation;
  readonly command: BookedCommand;
  /** The exact bytes that are recorded and digested. */
  readonly text: Buffer;
}

const MAX_REMEMBERED = 4096;
const MAX_REMEMBERED_LENGTH = 2048;
const MAX_READABLE_LENGTH = 16_384;
/** So often a client is told to ask again before it is told no. */
const MAX_LATE = 5;
const RETRY_AFTER_SECONDS = 5;
/** Ends that are decided here, and not broken connections. */
const TOLD = new Set(["forbidden", "revoked", "shutdown", "limit", "idle"]);
const BODILESS = new Set(["GET", "HEAD"]);

export async function serveRequest(
  deps: RequestDeps,
  session: HttpSession,
  request: ClientRequest,
  client: ClientAnswer,
): Promise<void> {
  const requestId = session.book.nextRequestId();
  const running = session.begin();
  let isServed = false;
  // Every answer closes in the end: only before its end somebody went away.
  client.once("close", () => {
    if (!isServed) running.abort(new GatewayError("protocol", "the client went away"));
  });
  let isWatch = false;
  try {
    const prepared = prepare(deps, session, request, requestId);
    if ("status" in prepared) return answerStatus(client, prepared.status);
    const permitted = await decide(deps, session, request, prepared, running.signal);
    if ("status" in permitted) return answerStatus(client, permitted.status);
    const { operation } = prepared;
    const unmaskable = undetected(session.target, operation, permitted.permit);
    if (unmaskable !== undefined) {
      session.book.refuseCommand(prepared.command, unmaskable);
      return answerStatus(client, denialStatus(unmaskable, requestId));
    }
    const write = { ...request, requestId, info: prepared.info, body: prepared.body };
    const { permit } = permitted;
    const compared = await comparisonOf(deps, session, write, permit, running.signal);
    if (compared.kind === "denied") {
      session.book.refuseCommand(prepared.command, compared.denial);
      return answerStatus(client, denialStatus(compared.denial, requestId));
    }
    session.permitted(running, { operation, ...permitted });
    const form = formOf(prepared.info, request.url);
    isWatch = form === "watch";
    const given = { ...permitted, unchanged: compared.unchanged };
    const isAnsweredAtOnce = form === "objects" || form === "discovery";
    if (isAnsweredAtOnce) await session.turns.take(running.signal);
    try {
      await forward(deps, session, request, prepared, given, client, running.signal);
    } finally {
      if (isAnsweredAtOnce) session.turns.give();
    }
  } catch (thrown) {
    fail(deps, client, thrown, requestId, isWatch);
  } finally {
    isServed = true;
    session.finish(running);
  }
}

/** A Status instead of an answer; `retry-after` as its details say. */
export function answerStatus(client: ClientAnswer, status: Status): void {
  const retry = status.details?.retryAfterSeconds;
  client.writeHead(status.code, {
    "content-type": "application/json",
    "cache-control": "no-store",
    ...(retry === undefined ? {} : { "retry-after": String(retry) }),
  });
  client.write(Buffer.from(JSON.stringify(status)));
  client.end();
}

function fail(
  deps: RequestDeps,
  client: ClientAnswer,
  thrown: unknown,
  requestId: string,
  isWatch: boolean,
): void {
  const error = toGatewayError(thrown);
  if (error.code === "internal" || error.code === "target_unavailable")
    deps.log(error.message, error.cause ?? thrown);
  if (isWatch && client.headersSent && !client.destroyed && TOLD.has(error.code)) {
    // What a watch is told last; events go out whole.
    const event = { type: "ERROR", object: statusOf(error, requestId) };
    client.write(Buffer.from(`${JSON.stringify(event)}\n`));
    client.end();
  } else if (client.headersSent || client.destroyed) client.destroy();
  else answerStatus(client, statusOf(error, requestId));
}

function prepare(
  deps: RequestDeps,
  session: HttpSession,
  request: ClientRequest,
  requestId: string,
): Prepared | { readonly status: Status } {
  const path = formatRequestUrl(request.url);
  const text = textOf(request, path);
  const digest = commandDigest(text);
  const deny = (what: string, message: string) => {
    session.book.recorder.command(requestId, text, undefined);
    const denial = unknownDenial(what, message);
    session.book.refuseCommand({ requestId, operation: undefined, digest }, denial);
    return { status: denialStatus(denial, requestId) };
  };
  let info: RequestInfo;
  let body: RequestBody;
  try {
    info = requestInfo(request.method, request.url);
    body = readBody(request.body, one(request.headers["content-type"]));
    if (body.bytes !== undefined && BODILESS.has(request.method))
      return deny("a request", `a ${request.method} has no body`);
  } catch (thrown) {
    if (thrown instanceof UnsupportedBody) {
      deny("a request", thrown.message);
      return { status: unsupportedStatus(thrown.message, requestId) };
    }
    const known = thrown instanceof KubernetesWireError || thrown instanceof GatewayError;
    return deny("a request", known ? thrown.message : "it cannot be understood");
  }
  const judged = remember(deps, session, `${request.method} ${path}`, body, () =>
    judgeRequest(session.target, info, request.url, bodyFacts(body)),
  );
  if (judged.kind === "unknown") return deny(judged.what, judged.message);
  const { operation } = judged;
  const command = { requestId, operation, digest };
  return { requestId, info, path, body, operation, command, text };
}

/** What is recorded, digested and approved: the type of a patch says how it is applied, so it is in it. */
function textOf({ body, headers, method }: ClientRequest, path: string): Buffer {
  const type = method === "PATCH" ? `content-type: ${one(headers["content-type"]) ?? ""}\n` : "";
  return Buffer.concat([Buffer.from(`${method} ${path}\n${type}`), body]);
}

/** What has no body is judged once, but what is long: it would be kept with all that is made of it. */
function remember(
  { remembered }: RequestDeps,
  { target }: HttpSession,
  line: string,
  body: RequestBody,
  judge: () => Judged,
): Judged {
  if (body.value !== undefined || line.length > MAX_REMEMBERED_LENGTH) return judge();
  const own = remembered.get(target) ?? new Map<string, Operation>();
  remembered.set(target, own);
  const known = own.get(line);
  if (known !== undefined) return { kind: "operation", operation: known };
  const judged = judge();
  if (judged.kind === "unknown") return judged;
  if (own.size >= MAX_REMEMBERED) own.clear();
  own.set(line, judged.operation);
  return judged;
}

type Permitted =
  | {
      readonly permit: Permit;
      readonly approvedBy: readonly string[] | undefined;
      readonly met: readonly string[] | undefined;
    }
  | { readonly status: Status };

async function decide(
  deps: RequestDeps,
  session: HttpSession,
  request: ClientRequest,
  prepared: Prepared,
  signal: AbortSignal,
): Promise<Permitted> {
  const { book } = session;
  const { requestId, command, operation, text } = prepared;
  const decision = book.decide(operation);
  if (decision.verdict === "permit")
    return { permit: decision.permit, approvedBy: undefined, met: undefined };
  if (decision.verdict === "hold") return hold(deps, session, request, prepared, decision, signal);
  book.recorder.command(requestId, text, undefined);
  book.refuseCommand(command, decision.denial);
  return { status: denialStatus(decision.denial, requestId) };
}

/** Kept open while it may be; then the client is told to ask again, and in the end told no. */
async function hold(
  deps: RequestDeps,
  session: HttpSession,
  request: ClientRequest,
  prepared: Prepared,
  decision: HeldDecision,
  signal: AbortSignal,
): Promise<Permitted> {
  const { clock, control, limits } = deps;
  const { book } = session;
  const { body, command, info, operation, requestId, text } = prepared;
  const refuse = (how: string): Permitted => {
    const message = `Custody denied ${decision.what}: ${how}. Not executed. Request ${requestId}. Next: custody explain ${requestId}`;
    book.recorder.command(requestId, text, undefined);
    book.refuseCommand(command, unknownDenial(decision.what, how, "forbidden"));
    return { status: refusedStatus(message, requestId) };
  };
  const lacking = lacksJustification(decision, book.subject.justification);
  if (lacking !== undefined) return refuse(lacking);
  const wait = new HoldWait({ control, book, clock, reminderMs: limits.holdReminderMs });
  const bound = createHash("sha256").update(text).digest("base64url");
  const waiting = {
    ...{ requestId, operation, parameters: [], bound: () => [bound] },
    text: readable(session.target, request, prepared),
    preview: await previewOf(
      deps,
      session,
      { ...request, requestId, info, body },
      decision,
      signal,
    ),
  };
  signal.addEventListener("abort", () => wait.cancel(), { once: true });
  const ended = await wait.wait(waiting, decision, limits.holdWaitMs, () => undefined);
  signal.throwIfAborted();
  const result = wait.release(waiting, ended);
  if (result.kind === "released")
    return { permit: result.permit, approvedBy: result.approvedBy, met: metBy(ended) };
  const what = `Custody holds ${decision.what}: it waits for approval by ${whoMayApprove(decision)}`;
  if (result.kind === "refused" && result.isLate === true && session.countLate(bound) <= MAX_LATE)
    return {
      status: waitingStatus(
        `${what}; ${result.how}. Not executed. Request ${requestId}.`,
        requestId,
        RETRY_AFTER_SECONDS,
      ),
    };
  return refuse(
    result.kind === "refused" ? result.how : "what was approved is no longer what would run",
  );
}

type Given = Extract<Permitted, { permit: Permit }> & { readonly unchanged: Unchanged | undefined };

async function forward(
  deps: RequestDeps,
  session: HttpSession,
  request: ClientRequest,
  prepared: Prepared,
  { permit, approvedBy, unchanged }: Given,
  client: ClientAnswer,
  signal: AbortSignal,
): Promise<void> {
  const { book } = session;
  const { requestId, command, info, path, body } = prepared;
  const { obligations } = permit;
  book.recorder.command(requestId, prepared.text, undefined, obligations.record);
  book.recorder.typed({ kind: "http-request", request: requestId, method: request.method, path });
  book.beginCommand(command, permit, approvedBy);
  const isPlainRead =
    isRead(info) && prepared.operation.touches.length === 0 && approvedBy === undefined;
  await new Promise<void>((done) => deps.journal.barrier(isPlainRead ? "ordered" : "strict", done));
  const limit = timeLimit(signal, obligations.timeoutMs);
  const maskPlan = maskPlanFor(deps, session, info, obligations.unmask);
  const mask = createAnswerMask(maskPlan);
  const filter = filterFor(session, info, obligations.filter);
  const detections = detectionsFor(session.target, permit);
  const output = detections.length === 0 ? undefined : new OutputMasks(detections);
  const form = formOf(info, request.url);
  const shared =
    form === "watch" && filter === undefined
      ? shareMasking(deps.events, maskPlan, splitLimits(deps.limits))
      : undefined;
  const masked = () =>
    new Set([...mask.masked, ...(output?.classes ?? []), ...(shared?.masked ?? [])]);
  try {
    signal.throwIfAborted();
    if (!isPermit(permit)) throw new GatewayError("internal", "a request without a permit");
    const headers = requestHeaders(request, session, prepared);
    const answer = await session.upstream.request({
      method: request.method,
      path: pathFor(request.url, info, path, headers.accept, { filter, permit }),
      headers: {
        ...headers,
        // Rows have metadata of their own.
        ...(unchanged === undefined ? {} : { accept: "application/json" }),
      },
      body: body.bytes,
      signal: limit,
      isWatch: form === "watch",
    });
    const { status, bytes, rows } = await relayAnswer(answer, client, {
      ...{
        requestId,
        mask,
        filter,
        output,
        unchanged,
        shared,
        obligations,
        recorder: book.recorder,
        signal: limit,
      },
      form,
      scrubErrors: mayQuote(session.target, info, obligations.unmask),
      maxObjectBytes: deps.limits.maxObjectBytes,
    });
    const outcome = status < 400 ? "ok" : String(status);
    book.endCommand({ requestId, outcome, rows, bytes, masked: masked(), ...left(filter) });
  } catch (thrown) {
    const reason = limit.aborted ? limit.reason : thrown;
    const outcome = reason instanceof GatewayError ? reason.code : "broken";
    book.endCommand({ requestId, outcome, masked: masked(), ...left(filter) });
    throw reason;
  } finally {
    book.recorder.endData(requestId, 0);
  }
}

/** Ends with the signal or, where there is one, at the end of the time a policy gives. */
export function timeLimit(signal: AbortSignal, timeoutMs: number | undefined): AbortSignal {
  if (timeoutMs === undefined) return signal;
  const over = new AbortController();
  const timer = setTimeout(
    () => over.abort(new GatewayError("limit", `it took longer than ${timeoutMs} ms`)),
    timeoutMs,
  );
  timer.unref();
  return AbortSignal.any([signal, over.signal]);
}

function splitLimits({ maxObjectBytes }: RequestLimits): SplitLimits {
  return { maxObjectBytes, maxFrameBytes: MAX_FRAME_BYTES };
}

function maskPlanFor(
  deps: RequestDeps,
  { target }: HttpSession,
  info: RequestInfo,
  shown: ReadonlySet<string>,
): AnswerMaskPlan {
  const isSecrets = info.isResource && info.group === "" && info.resource === "secrets";
  const fields = info.isResource ? fieldsOf(target, info) : [];
  return { isSecrets, fields, shown, maskOf: deps.maskOf };
}

function filterFor(
  { book, shown, target }: HttpSession,
  info: RequestInfo,
  isFiltered: true | undefined,
): ItemFilter | undefined {
  if (isFiltered === undefined || !info.isResource) return undefined;
  return createItemFilter({ target, info, book, shown });
}

/** What was decided, with what its answer has to have to be filtered and masked. */
function pathFor(
  url: RequestUrl,
  info: RequestInfo,
  path: string,
  accept: string | undefined,
  { filter, permit }: { readonly filter: ItemFilter | undefined; readonly permit: Permit },
): string {
  const isTable = accept?.includes("as=Table") === true;
  const isHidden = isTable && !permit.obligations.unmask.has(ENVIRONMENT_CLASS);
  if (filter === undefined && !isHidden) return path;
  const whole = filter === undefined ? url : unpaged(url);
  return formatRequestUrl(isHidden ? withObjects(whole, info) : whole);
}

/** How many were left out, for the log. */
function left(filter: ItemFilter | undefined) {
  return filter === undefined ? {} : { detail: { withheld: filter.withheld } };
}

function formOf(info: RequestInfo, url: RequestUrl): AnswerForm {
  if (!info.isResource) return "discovery";
  if (isLog(info)) return "text";
  return isFollowed(info, url) ? "watch" : "objects";
}

/** Nothing of the client's is sent on but what is named here. */
function requestHeaders(
  { headers }: ClientRequest,
  session: HttpSession,
  { body, info, requestId }: Prepared,
): Record<string, string> {
  const agent = one(headers["user-agent"])
    ?.replace(/[^\x20-\x7e]/g, "")
    .slice(0, 256);
  const etag = one(headers["if-none-match"]);
  const accept = one(headers.accept);
  return {
    accept: info.isResource
      ? acceptable(accept, fieldsOf(session.target, info).length === 0)
      : (accept ?? "*/*"),
    "accept-encoding": "identity",
    "audit-id": requestId,
    "user-agent": `${agent ?? "unknown"} custody/${session.id}`,
    ...(body.contentType === undefined ? {} : { "content-type": body.contentType }),
    ...(etag === undefined || info.isResource ? {} : { "if-none-match": etag.slice(0, 256) }),
  };
}

const ACCEPTABLE =
  /^application\/json(;(as=(Table|PartialObjectMetadata|PartialObjectMetadataList)|v=v1(beta1)?|g=meta\.k8s\.io|stream=watch))*$/;

/** JSON in the shapes that can be masked; columns of a table may show a classified field, so not those. */
export function acceptable(accept: string | undefined, mayBeTable: boolean): string {
  const asked = (accept ?? "").split(",", 32).map((type) => type.replace(/\s/g, ""));
  const kept = asked.filter(
    (type) => ACCEPTABLE.test(type) && (mayBeTable || !type.includes("as=Table")),
  );
  return [...new Set([...kept, "application/json"])].join(",");
}

/** As approvers read it, bounded; what is classified in the body is masked. */
function readable(
  target: KubernetesTarget,
  { method }: ClientRequest,
  { body, info, path }: Prepared,
): string {
  const type = method === "PATCH" ? `content-type: ${body.contentType ?? ""}\n` : "";
  const shown = info.isResource ? maskedBody(target, info, body) : (body.value ?? null);
  const text = `${method} ${path}\n${type}${body.value === undefined ? "" : JSON.stringify(shown)}`;
  return text.length > MAX_READABLE_LENGTH ? `${text.slice(0, MAX_READABLE_LENGTH)}…` : text;
}

function one(value: string | string[] | undefined): string | undefined {
  return Array.isArray(value) ? value.join(",") : value;
}

function unknownDenial(what: string, message: string, kind: Denial["kind"] = "unknown"): Denial {
  return { kind, what, policyId: undefined, message, hop: undefined, hopLabel: undefined };
}
