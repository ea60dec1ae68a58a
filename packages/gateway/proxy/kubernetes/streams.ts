// Requests that become another protocol: exec, attach and port-forward. The upgrade is accepted first and
// judged then, because a client that is refused one asks again over another protocol: what is told to it,
// a denial or that it waits for people, is told on the connection itself. Only a port-forward, which has
// no place for a word, is refused before.

import { createHash } from "node:crypto";
import type { Socket } from "node:net";
import { commandDigest } from "@custody/evidence/node/command-digest.ts";
import { KubernetesWireError } from "@custody/wire/kubernetes/errors.ts";
import {
  isTrue,
  parameters,
  type ResourceRequest,
  requestInfo,
} from "@custody/wire/kubernetes/request-info.ts";
import { formatRequestUrl, type RequestUrl } from "@custody/wire/kubernetes/request-url.ts";
import type { Denial, Operation, Permit } from "../../access/operation.ts";
import { isPermit } from "../../access/permit.ts";
import type { Journal } from "../../audit/journal.ts";
import type { Clock } from "../../base/clock.ts";
import { GatewayError, toGatewayError } from "../../base/errors.ts";
import type { Grammars } from "../../command/load-grammars.ts";
import type { RecordingLevel } from "../../policy/annotations.ts";
import type { Control } from "../../session/control.ts";
import { type HeldDecision, HoldWait, metBy } from "../../session/hold-wait.ts";
import type { BookedCommand } from "../../session/session-book.ts";
import { type JudgedStream, judgeStream, portOperation } from "./exec-operations.ts";
import { ExitReader } from "./exit-reader.ts";
import { denialStatus, refusedStatus, type Status, statusOf } from "./faults.ts";
import type { HttpSession } from "./http-session.ts";
import { isObject, parseJson } from "./json-text.ts";
import { lacksJustification } from "./justification.ts";
import { type StreamKind, streamOf } from "./operations.ts";
import { detectionsFor, OutputMasks, undetected } from "./output-masks.ts";
import { recorded } from "./recorded.ts";
import { type RequestLimits, timeLimit } from "./request.ts";
import type { PieceOf, StreamDoor, StreamTaps } from "./stream-door.ts";
import { createStreamScreen, type StreamScreen } from "./stream-screen.ts";
import { openSpdyDoor } from "./stream-spdy.ts";
import { openWebSocketDoor } from "./stream-websocket.ts";

export interface StreamDeps {
  readonly control: Control;
  readonly journal: Journal;
  readonly clock: Clock;
  readonly limits: RequestLimits;
  readonly grammars: Grammars;
  readonly log: (message: string, error?: unknown) => void;
}

export interface StreamRequest {
  readonly method: string;
  readonly url: RequestUrl;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly socket: Socket;
  readonly head: Buffer;
}

interface Stream extends JudgedStream {
  readonly requestId: string;
  readonly kind: StreamKind;
  readonly info: ResourceRequest;
  readonly method: string;
  readonly path: string;
  readonly text: Buffer;
  readonly command: BookedCommand;
}

/** Throws GatewayError before the upgrade is accepted; afterwards it tells the client itself. */
export async function serveStream(
  deps: StreamDeps,
  session: HttpSession,
  request: StreamRequest,
): Promise<void> {
  const stream = prepare(deps, session, request);
  const door = doorOf(request, stream.kind === "portforward");
  if (request.head.length > 0) request.socket.unshift(request.head);
  const running = session.begin();
  const { signal } = running;
  try {
    const isForward = stream.kind === "portforward";
    if (!isForward) door.accept();
    const permitted = maskableOnly(
      session,
      stream,
      await decide(deps, session, stream, door, signal),
    );
    if ("status" in permitted) {
      if (isForward) throw refusal(permitted.status, stream.requestId);
      await door.refuse(permitted.status);
    } else {
      session.permitted(running, { operation: stream.operation, ...permitted });
      await run(deps, session, stream, { door, running, ...permitted });
    }
  } finally {
    session.finish(running);
  }
}

function prepare(deps: StreamDeps, session: HttpSession, request: StreamRequest): Stream {
  const { method, url } = request;
  const info = requestInfo(method, url);
  const kind = info.isResource ? streamOf(info) : undefined;
  const isAsked = method === "GET" || method === "POST";
  const requestId = session.book.nextRequestId();
  if (!info.isResource || kind === undefined || !isAsked || info.rest.length > 0) {
    const message = "only exec, attach and port-forward are upgraded";
    refuseUnread(session, request, requestId, message);
    throw new GatewayError("forbidden", message, { requestId, hint: "watch over plain HTTP" });
  }
  const judged = judgeStream(session.target, info, kind, url, deps.grammars);
  if (judged === undefined) {
    const message = `the parameters of ${kind} are not understood`;
    refuseUnread(session, request, requestId, message);
    throw new GatewayError("invalid", message, { requestId });
  }
  const path = formatRequestUrl(judged.url);
  const text = Buffer.from(`${method} ${path}\n`);
  const command = { requestId, operation: judged.operation, digest: commandDigest(text) };
  return { ...judged, requestId, kind, info, method, path, text, command };
}

/** What is refused before it is an operation is in the journal as well. */
function refuseUnread(
  { book }: HttpSession,
  { method, url }: StreamRequest,
  requestId: string,
  message: string,
): void {
  const text = Buffer.from(`${method} ${formatRequestUrl(url)}\n`);
  book.recorder.command(requestId, text, undefined);
  const denial: Denial = { ...deniedBecause("an upgrade", message), kind: "unknown" };
  book.refuseCommand({ requestId, operation: undefined, digest: commandDigest(text) }, denial);
}

function doorOf({ headers, socket }: StreamRequest, isForward: boolean): StreamDoor {
  const header = (name: string) => String(headers[name] ?? "");
  if (header("upgrade").toLowerCase() === "websocket")
    return openWebSocketDoor(socket, {
      key: header("sec-websocket-key"),
      version: header("sec-websocket-version"),
      protocols: header("sec-websocket-protocol"),
      isForward,
    });
  if (header("upgrade").toLowerCase() === "spdy/3.1")
    return openSpdyDoor(socket, header("x-stream-protocol-version"), isForward);
  throw new GatewayError("invalid", "only WebSocket and SPDY/3.1 are spoken here");
}

type Permitted =
  | {
      readonly permit: Permit;
      readonly approvedBy: readonly string[] | undefined;
      readonly met: readonly string[] | undefined;
    }
  | { readonly status: Status };

async function decide(
  deps: StreamDeps,
  session: HttpSession,
  stream: Stream,
  door: StreamDoor,
  signal: AbortSignal,
): Promise<Permitted> {
  const { book } = session;
  const { command, operation, requestId, text } = stream;
  const decision = book.decide(operation);
  if (decision.verdict === "permit")
    return { permit: decision.permit, approvedBy: undefined, met: undefined };
  if (decision.verdict === "hold") return hold(deps, session, stream, decision, door, signal);
  const { denial } = decision;
  const unread = stream.unread === undefined ? "" : ` (it is taken as code: ${stream.unread})`;
  book.recorder.command(requestId, text, undefined);
  book.refuseCommand(command, denial);
  return { status: denialStatus({ ...denial, message: denial.message + unread }, requestId) };
}

function maskableOnly(session: HttpSession, stream: Stream, permitted: Permitted): Permitted {
  if ("status" in permitted) return permitted;
  const denial = undetected(session.target, stream.operation, permitted.permit);
  if (denial === undefined) return permitted;
  session.book.refuseCommand(stream.command, denial);
  return { status: denialStatus(denial, stream.requestId) };
}

async function hold(
  deps: StreamDeps,
  session: HttpSession,
  stream: Stream,
  decision: HeldDecision,
  door: StreamDoor,
  signal: AbortSignal,
): Promise<Permitted> {
  const { clock, control, limits } = deps;
  const { book } = session;
  const { requestId, operation, text, command } = stream;
  const refuse = (how: string): Permitted => {
    book.recorder.command(requestId, text, undefined);
    book.refuseCommand(command, deniedBecause(decision.what, how));
    const message = `Custody denied ${decision.what}: ${how}. Not executed. Request ${requestId}.`;
    return { status: refusedStatus(message, requestId) };
  };
  const lacking = lacksJustification(decision, book.subject.justification);
  if (lacking !== undefined) return refuse(lacking);
  const wait = new HoldWait({ control, book, clock, reminderMs: limits.holdReminderMs });
  const bound = createHash("sha256").update(text).digest("base64url");
  const waiting = {
    ...{ requestId, operation, parameters: [], bound: () => [bound] },
    text: stream.argv.length === 0 ? stream.path : stream.argv.join(" "),
  };
  signal.addEventListener("abort", () => wait.cancel(), { once: true });
  const ended = await wait.wait(waiting, decision, limits.holdWaitMs, (notice) =>
    door.note(`${notice.message}. ${notice.detail} Next: ${notice.hint}`),
  );
  signal.throwIfAborted();
  const result = wait.release(waiting, ended);
  if (result.kind === "released")
    return { permit: result.permit, approvedBy: result.approvedBy, met: metBy(ended) };
  return refuse(
    result.kind === "refused" ? result.how : "what was approved is no longer what would run",
  );
}

interface Begun {
  readonly door: StreamDoor;
  readonly running: AbortController;
  readonly permit: Permit;
  readonly approvedBy: readonly string[] | undefined;
}

async function run(
  deps: StreamDeps,
  session: HttpSession,
  stream: Stream,
  { approvedBy, door, permit, running }: Begun,
): Promise<void> {
  const { book } = session;
  const { command, requestId } = stream;
  const { obligations } = permit;
  book.recorder.command(requestId, stream.text, undefined, obligations.record);
  recordBegin(session, stream, obligations.record === "digest");
  book.beginCommand(command, permit, approvedBy);
  await new Promise<void>((done) => deps.journal.barrier("strict", done));
  let outcome = "ok";
  const exit = new ExitReader();
  const detections = detectionsFor(session.target, permit);
  const masks = detections.length === 0 ? undefined : new OutputMasks(detections);
  using screen = screenOf(session, stream, obligations.record);
  const signal = timeLimit(running.signal, obligations.timeoutMs);
  try {
    signal.throwIfAborted();
    if (!isPermit(permit)) throw new GatewayError("internal", "a stream without a permit");
    const upstream = await session.upstream.upgrade({
      method: stream.method,
      path: stream.path,
      headers: {
        ...door.upstreamHeaders,
        "audit-id": requestId,
        "user-agent": `custody/${session.id}`,
      },
      signal,
    });
    if (upstream.kind === "refused") {
      outcome = String(upstream.status);
      const status = refusedBy(upstream.status, upstream.body, requestId);
      if (stream.kind === "portforward") throw refusal(status, requestId);
      return await door.refuse(status);
    }
    const { socket: connection, head } = upstream;
    try {
      door.assertAgreed(upstream.headers);
      if (stream.kind === "portforward") door.accept();
      if (head.length > 0) connection.unshift(head);
      const interrupt = () => door.interrupt(statusOf(toGatewayError(signal.reason), requestId));
      signal.addEventListener("abort", interrupt, { once: true });
      await door.relay(
        connection,
        tapsOf(deps, session, stream, running, permit, { exit, masks, screen, signal }),
      );
    } finally {
      connection.destroy();
    }
    if (signal.aborted) outcome = toGatewayError(signal.reason).code;
    else if (exit.code !== undefined && exit.code !== 0) outcome = `exit ${exit.code}`;
  } catch (thrown) {
    const error = faultOf(signal.aborted ? signal.reason : thrown);
    outcome = error.code;
    if (error.code === "internal") deps.log(error.message, error.cause);
    if (stream.kind === "portforward") throw error;
    await door.refuse(statusOf(error, requestId));
  } finally {
    const code = exit.code === undefined ? {} : { code: exit.code };
    book.recorder.typed({ kind: "exit", request: requestId, channel: 0, ...code });
    book.recorder.endData(requestId, 0);
    book.endCommand({
      ...{ requestId, outcome, bytes: exit.bytes },
      ...(masks === undefined ? {} : { masked: masks.classes }),
    });
  }
}

/** Frames that are none are whosever's they came from, and no fault of ours. */
function faultOf(thrown: unknown): GatewayError {
  return thrown instanceof KubernetesWireError
    ? new GatewayError("protocol", thrown.message)
    : toGatewayError(thrown);
}

function recordBegin({ book }: HttpSession, stream: Stream, isDigest: boolean): void {
  const { argv, container, info, requestId } = stream;
  const place = [info.namespace, info.name, container].join("/");
  const mode = stream.kind === "portforward" ? "forward" : stream.kind;
  book.recorder.typed({
    ...{ kind: "exec", request: requestId, channel: 0, mode },
    ...(isDigest ? {} : { argv, place }),
  });
  if (stream.isTerminal)
    book.recorder.typed({ kind: "terminal", request: requestId, channel: 0, ...FIRST_SIZE });
}

/** Until the client says. */
const FIRST_SIZE = { columns: 80, rows: 24 };

function screenOf(
  { book }: HttpSession,
  { isTerminal, requestId }: Stream,
  level: RecordingLevel = "full",
): StreamScreen | undefined {
  if (!isTerminal || level !== "full") return undefined;
  return createStreamScreen(book.recorder, requestId, FIRST_SIZE);
}

interface Passing {
  readonly exit: ExitReader;
  readonly masks: OutputMasks | undefined;
  /** Of a terminal that is recorded whole. */
  readonly screen: StreamScreen | undefined;
  /** Aborted when it may not go on. */
  readonly signal: AbortSignal;
}

function tapsOf(
  deps: StreamDeps,
  session: HttpSession,
  stream: Stream,
  running: AbortController,
  permit: Permit,
  { exit, masks, screen, signal }: Passing,
): StreamTaps {
  const { book, target } = session;
  const { recorder } = book;
  const { requestId } = stream;
  const { record: level, maxBytes } = permit.obligations;
  const ports = new Map<number, Operation>();
  return {
    isMasked: (piece) => masks !== undefined && (piece === "stdout" || piece === "stderr"),
    rest(piece) {
      if (masks === undefined || (piece !== "stdout" && piece !== "stderr")) return NOTHING;
      const rest = masks.end(piece);
      if (rest.length > 0) recorder.data(requestId, 0, piece, rest, level);
      // The last of stderr is whether what was read is what was written.
      const told = piece === "stderr" && hasStderr(stream.url) ? masks.summary : "";
      return Buffer.concat([rest, Buffer.from(told)]);
    },
    pass(piece, came, from) {
      const data = masks !== undefined && from === "server" ? outputOf(masks, piece, came) : came;
      exit.bytes += came.length;
      if (exit.bytes > (maxBytes ?? Number.POSITIVE_INFINITY))
        throw new GatewayError("limit", `more than ${maxBytes} bytes, which a policy allows`);
      if (piece === "error") exit.read(data);
      else if (piece === "resize")
        resized(data, (columns, rows) => {
          screen?.resized({ columns, rows });
          recorder.typed({ kind: "terminal", request: requestId, channel: 0, columns, rows });
        });
      else if (piece !== undefined && data.length > 0)
        recorder.data(requestId, 0, recordedAs(piece, from), data, level);
      if (from === "server" && (piece === "stdout" || piece === "stderr")) screen?.output(data);
      return data;
    },
    async mayForward(port) {
      if (port === 0) return false;
      const known = ports.get(port);
      const operation = known ?? portOperation(target, stream.info, port);
      ports.set(port, operation);
      const decision = book.decide(operation);
      const portId = book.nextRequestId();
      const command = {
        requestId: portId,
        operation,
        digest: commandDigest(Buffer.from(`port ${port}\n`)),
      };
      recorder.command(portId, Buffer.from(`port ${port}\n`), undefined);
      if (decision.verdict === "permit") book.beginCommand(command, decision.permit, undefined);
      else if (decision.verdict === "deny") book.refuseCommand(command, decision.denial);
      else
        book.refuseCommand(
          command,
          deniedBecause(decision.what, "a port cannot wait for approval"),
        );
      if (decision.verdict !== "permit") return false;
      await new Promise<void>((done) => deps.journal.barrier("strict", done));
      book.endCommand({ requestId: portId, outcome: "ok" });
      if (known === undefined)
        session.permitted(running, { operation, permit: decision.permit, met: undefined });
      return true;
    },
    async room() {
      await recorded(recorder, signal);
      await screen?.room(signal);
    },
  };
}

/** A command at a terminal has none. */
function hasStderr(url: RequestUrl): boolean {
  return isTrue(parameters(url, "stderr")) && !isTrue(parameters(url, "tty"));
}

const NOTHING = Buffer.alloc(0);

/** Of the API server only: what a kind of piece nobody knows carries cannot be masked. */
function outputOf(masks: OutputMasks, piece: PieceOf | undefined, data: Buffer): Buffer {
  if (piece === "stdout" || piece === "stderr") return masks.pass(piece, data);
  if (piece === "error") return data;
  throw new GatewayError("target_unavailable", "the API server sends what cannot be masked");
}

function recordedAs(piece: PieceOf, from: "client" | "server") {
  if (piece === "stdin" || piece === "stdout" || piece === "stderr") return piece;
  return from === "client" ? ("stdin" as const) : ("stdout" as const);
}

const MAX_SIZE_BYTES = 1024;

function resized(data: Buffer, then: (columns: number, rows: number) => void): void {
  if (data.length > MAX_SIZE_BYTES) return;
  try {
    const { Width, Height } = JSON.parse(data.toString("utf8")) as Record<string, unknown>;
    if (typeof Width === "number" && typeof Height === "number") then(Width, Height);
  } catch {
    // A client that says nothing of its size has none.
  }
}

/** What the API server said instead of upgrading; its own Status where it gave one. */
function refusedBy(code: number, body: Buffer, requestId: string): Status {
  let message = `the API server refused it (${code})`;
  try {
    const value = parseJson(body.toString("utf8"));
    if (isObject(value) && typeof value.message === "string") message = value.message;
  } catch {
    // Then the code says it all.
  }
  return {
    ...refusedStatus(`${message}. Request ${requestId}.`, requestId),
    code: code < 400 ? 502 : code,
  };
}

function refusal(status: Status, requestId: string): GatewayError {
  const message = status.message.replace(/^Custody: /, "");
  return new GatewayError("forbidden", message, { requestId });
}

function deniedBecause(what: string, message: string): Denial {
  return {
    ...{ kind: "forbidden", what, policyId: undefined, message },
    ...{ hop: undefined, hopLabel: undefined },
  };
}
