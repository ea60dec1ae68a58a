// The way back: what the API server answers, masked object by object, recorded and handed to the client
// as fast as the client takes it. What cannot be masked is not handed on; what goes wrong on the way ends
// the answer broken, never cut short in a form that looks whole.

import { DocumentSplitter, ListSplitter } from "@custody/wire/kubernetes/json-split.ts";
import type { Obligations } from "../../access/operation.ts";
import { GatewayError } from "../../base/errors.ts";
import type { Recorder } from "../../recording/recorder.ts";
import { type AnswerBody, wholeBody } from "./answer-body.ts";
import type { AnswerMask } from "./answer-mask.ts";
import { type Unchanged, withUnchanged } from "./comparing-writes.ts";
import { isPlainError, plainWarnings, scrubbedStatus, statusInPlace } from "./error-text.ts";
import { type ItemFilter, unfilterable } from "./item-filter.ts";
import { isObject, type JsonObject, parseJson } from "./json-text.ts";
import type { OutputMasks } from "./output-masks.ts";
import { untilRecorded } from "./recorded.ts";
import type { SharedMasking } from "./shared-events.ts";
import type { UpstreamResponse } from "./upstream-request.ts";

/** The client's side of one answer; node:http's and node:http2's both are one. */
export interface ClientAnswer {
  writeHead(status: number, headers: Record<string, string | string[]>): unknown;
  write(chunk: Buffer, written?: () => void): boolean;
  end(chunk?: Buffer): unknown;
  destroy(error?: Error): unknown;
  once(event: "drain" | "close", listener: () => void): unknown;
  off(event: "drain" | "close", listener: () => void): unknown;
  flushHeaders(): void;
  readonly headersSent: boolean;
  readonly destroyed: boolean;
}

/** What the answer is, by what was asked. */
export type AnswerForm = "objects" | "watch" | "text" | "discovery";

export interface AnswerPlan {
  readonly requestId: string;
  readonly form: AnswerForm;
  readonly mask: AnswerMask;
  /** Of what is listed only what it shows is handed on. */
  readonly filter?: ItemFilter | undefined;
  /** Of the one object that is answered: what it counts, as it was. */
  readonly unchanged?: Unchanged | undefined;
  /** Of a watch that is not filtered: what others are told too is masked once. */
  readonly shared?: SharedMasking | undefined;
  /** Of text. */
  readonly output?: OutputMasks | undefined;
  readonly obligations: Obligations;
  /** An error's text may quote what is classified. */
  readonly scrubErrors: boolean;
  readonly recorder: Recorder;
  readonly maxObjectBytes: number;
  readonly signal: AbortSignal;
}

export interface AnswerSummary {
  readonly status: number;
  readonly bytes: number;
  readonly rows: number;
}

const HANDED_ON = ["content-type", "audit-id", "retry-after", "warning", "etag", "last-modified"];
/** Of what surrounds the objects of an answer. */
export const MAX_FRAME_BYTES = 1 << 20;
const MAX_STATUS_BYTES = 1 << 20;
const LIST_MEMBERS = new Set(["kind", "apiVersion", "metadata", "columnDefinitions"]);
/** ListMeta; an object that has items of its own has annotations besides. */
const LIST_META = new Set(["resourceVersion", "continue", "remainingItemCount", "selfLink"]);
const EMPTY = Buffer.alloc(0);
/**
 * Of a list, on its way to a client: a wait for each chunk would leave the API server idle while the client
 * reads, and the client while the API server is asked for more. Watches stay by node's 16 KiB: there are many.
 */
const LIST_AHEAD_BYTES = 256 << 10;

/** What of a list is recorded and written at once: each write is a piece of HTTP, a record of TLS and a call. */
const LIST_PIECE_BYTES = 64 << 10;

/** Throws GatewayError "target_unavailable" while nothing was sent, and whatever broke it afterwards. */
export async function relayAnswer(
  answer: UpstreamResponse,
  client: ClientAnswer,
  plan: AnswerPlan,
): Promise<AnswerSummary> {
  const { status } = answer;
  const out = new Out(answer, client, plan);
  try {
    if (status === 401) throw unavailable("the API server refuses the gateway's credential");
    if (status >= 300 && status < 400 && status !== 304)
      throw unavailable("the API server points to elsewhere");
    if (status >= 400 && plan.scrubErrors) await relayError(answer, out, plan);
    else if (status >= 400 && plan.form !== "discovery" && !isMaskable(answer))
      await tellInPlace(answer, out, statusInPlace(status, plan.requestId));
    else await relayBody(answer, out, plan);
    await out.end();
    return { status, bytes: out.bytes, rows: out.rows };
  } catch (thrown) {
    answer.body.destroy();
    if (thrown instanceof GatewayError || plan.signal.aborted) throw thrown;
    throw unavailable("the API server's answer broke off", thrown);
  }
}

async function relayBody(answer: UpstreamResponse, out: Out, plan: AnswerPlan): Promise<void> {
  const { body } = answer;
  if (plan.form === "discovery" || (plan.form === "text" && answer.status < 400)) {
    const output = plan.form === "text" ? plan.output : undefined;
    if (plan.form === "text") await out.head();
    await body.each((chunk) => out.send([output?.pass("stdout", chunk) ?? chunk]));
    if (output !== undefined) await out.send([output.end("stdout")]);
    return;
  }
  if (!isMaskable(answer))
    throw unavailable("the API server answers in a form that cannot be masked");
  if (plan.form === "watch" && answer.status < 300) await relayWatch(body, out, plan);
  else await relayObjects(body, out, plan);
}

function isMaskable({ headers, status }: UpstreamResponse): boolean {
  const isEmpty = headers["content-length"] === "0" || status === 204;
  return isEmpty || /^application\/json\s*(;|$)/.test(String(headers["content-type"] ?? ""));
}

async function relayWatch(body: AnswerBody, out: Out, plan: AnswerPlan): Promise<void> {
  // A client counts on the headers before the first event.
  await out.head();
  const parts: Buffer[] = [];
  const splitter = new DocumentSplitter(
    (event) => {
      for (const one of plan.filter === undefined ? [event] : plan.filter.event(event)) {
        parts.push(masked(plan.mask, one, true), NEWLINE);
        out.rows++;
      }
    },
    { maxObjectBytes: plan.maxObjectBytes, maxFrameBytes: MAX_FRAME_BYTES },
  );
  await body.each((chunk) => {
    const shared = splitter.isBetween ? plan.shared : undefined;
    const whole = shared === undefined ? undefined : asJson(() => shared.apply(chunk));
    if (whole !== undefined) {
      out.rows += whole.rows;
      return out.send([whole.bytes]);
    }
    splitter.push(chunk);
    return parts.length === 0 ? undefined : out.send(parts.splice(0));
  });
  splitter.end();
}

const NEWLINE = Buffer.from("\n");
const COMMA = Buffer.from(",");

async function relayObjects(body: AnswerBody, out: Out, plan: AnswerPlan): Promise<void> {
  const parts: Buffer[] = [];
  let length = 0;
  const add = (bytes: Buffer) => {
    parts.push(bytes);
    length += bytes.length;
  };
  let isFirst = true;
  const next = (bytes: Buffer, rows: number) => {
    if (!isFirst) add(COMMA);
    isFirst = false;
    add(bytes);
    out.rows += rows;
    if (out.rows > (plan.obligations.maxRows ?? Number.POSITIVE_INFINITY))
      throw limited(`${plan.obligations.maxRows} objects`);
  };
  const splitter = new ListSplitter(
    {
      head(bytes) {
        const whole = `${bytes.toString("utf8")}]}`;
        if (!isPlainList(whole)) return false;
        if (plan.filter !== undefined) assertWhole(whole);
        add(bytes);
        return true;
      },
      run(bytes, count) {
        if (plan.filter !== undefined || !asJson(() => plan.mask.isPlain(bytes))) return false;
        next(bytes, count);
        return true;
      },
      element(bytes) {
        if (plan.filter?.shows(bytes) !== false) next(masked(plan.mask, bytes, true), 1);
      },
      tail(bytes) {
        const whole = `{"items":[${bytes.toString("utf8")}`;
        if (!isPlainList(whole)) throw unavailable("the API server's list has members no list has");
        if (plan.filter !== undefined) assertWhole(whole);
        add(bytes);
      },
      document(bytes) {
        if (bytes.length === 0) return;
        if (plan.filter !== undefined && !mayPassUnfiltered(bytes)) throw unfilterable();
        const own = masked(plan.mask, bytes, false);
        add(plan.unchanged === undefined ? own : withUnchanged(own, plan.unchanged));
        out.rows++;
      },
    },
    { maxObjectBytes: plan.maxObjectBytes, maxFrameBytes: MAX_FRAME_BYTES },
  );
  await body.each((chunk) => {
    splitter.push(chunk);
    if (length < LIST_PIECE_BYTES) return undefined;
    length = 0;
    return out.send(parts.splice(0));
  });
  splitter.end();
  await out.send(parts, true);
}

function masked(mask: AnswerMask, bytes: Buffer, isJson: boolean): Buffer {
  return asJson(() => mask.apply(bytes, isJson));
}

function asJson<T>(read: () => T): T {
  try {
    return read();
  } catch (cause) {
    throw unavailable("the API server's answer is no JSON", cause);
  }
}

/** A list's own members are about the list; whatever else is beside its elements is looked at whole. */
function isPlainList(text: string): boolean {
  try {
    const value = parseJson(text);
    return (
      isObject(value) &&
      Object.keys(value).every(
        (name) => LIST_MEMBERS.has(name) || name === "items" || name === "rows",
      ) &&
      (!isObject(value.metadata) ||
        Object.keys(value.metadata).every((name) => LIST_META.has(name)))
    );
  } catch {
    return false;
  }
}

/** No page was asked for: one would say how much was left out, and name where the next one begins. */
function assertWhole(text: string): void {
  const { metadata } = parseJson(text) as JsonObject;
  if (isObject(metadata) && (metadata.continue || metadata.remainingItemCount))
    throw unfilterable();
}

/** Errors, and a list in which there is nothing. */
function mayPassUnfiltered(bytes: Buffer): boolean {
  const value = parseJson(bytes.toString("utf8"));
  if (!isObject(value)) return false;
  if (value.kind === "Status") return value.status === "Failure";
  return (
    isPlainList(bytes.toString("utf8")) &&
    (value.items ?? null) === null &&
    (value.rows ?? null) === null
  );
}

async function tellInPlace({ body }: UpstreamResponse, out: Out, status: Buffer): Promise<void> {
  body.destroy();
  out.isOwn = true;
  await out.send([status]);
}

async function relayError(answer: UpstreamResponse, out: Out, plan: AnswerPlan): Promise<void> {
  const bytes = await wholeBody(answer.body, MAX_STATUS_BYTES);
  if (isPlainError(bytes) && isMaskable(answer)) await out.send([bytes]);
  else await tellInPlace(answer, out, scrubbedStatus(bytes, plan.requestId));
}

/** The client's answer, begun with its first bytes. */
class Out {
  bytes = 0;
  rows = 0;
  /** What is told is a Status of ours, and not what the API server said. */
  isOwn = false;
  readonly #answer: UpstreamResponse;
  readonly #client: ClientAnswer;
  readonly #plan: AnswerPlan;
  #isNoted = false;
  #hasEnded = false;
  /** Written, and not with the kernel yet. */
  #ahead = 0;

  constructor(answer: UpstreamResponse, client: ClientAnswer, plan: AnswerPlan) {
    this.#answer = answer;
    this.#client = client;
    this.#plan = plan;
  }

  /** undefined, here and below: it went, and more may come at once. */
  head(): Promise<void> | undefined {
    this.#noteHead();
    return after(untilRecorded(this.#plan.recorder, this.#plan.signal), () => this.#writeHead());
  }

  /** Into the recording, once. */
  #noteHead(): void {
    if (this.#isNoted) return;
    this.#isNoted = true;
    const { recorder, requestId } = this.#plan;
    recorder.typed({ kind: "http-response", request: requestId, status: this.#answer.status });
  }

  /** `length`: of an answer that is known as a whole. */
  #writeHead(length?: number): undefined {
    if (this.#client.headersSent || this.#client.destroyed) return;
    const headers: Record<string, string | string[]> = {};
    for (const name of HANDED_ON) {
      const value = this.#answer.headers[name];
      if (value !== undefined) headers[name] = value;
    }
    if (this.isOwn) headers["content-type"] = "application/json";
    if (this.isOwn || this.#plan.scrubErrors) this.#scrubWarnings(headers);
    if (length !== undefined) headers["content-length"] = String(length);
    this.#client.writeHead(this.#answer.status, headers);
    // Whoever watches counts on it before anything happens; elsewhere it goes out with what it is about.
    if (this.#plan.form === "watch" || this.#plan.form === "text") this.#client.flushHeaders();
  }

  #scrubWarnings(headers: Record<string, string | string[]>): void {
    const kept = plainWarnings(headers.warning);
    if (kept.length > 0) headers.warning = kept;
    else delete headers.warning;
  }

  /** `isLast`: nothing comes after it, and the answer ends with it. */
  send(parts: readonly Buffer[], isLast = false): Promise<void> | undefined {
    const { obligations, recorder, requestId, signal } = this.#plan;
    signal.throwIfAborted();
    if (this.#client.destroyed) throw new GatewayError("protocol", "the client went away");
    const chunk = parts.length === 1 ? (parts[0] ?? EMPTY) : Buffer.concat(parts);
    if (chunk.length === 0 && !isLast) return undefined;
    this.bytes += chunk.length;
    if (this.bytes > (obligations.maxBytes ?? Number.POSITIVE_INFINITY))
      throw limited(`${obligations.maxBytes} bytes`);
    this.#noteHead();
    if (chunk.length > 0) recorder.data(requestId, 0, "response", chunk, obligations.record);
    return after(untilRecorded(recorder, signal), () => this.#hand(chunk, isLast));
  }

  async end(): Promise<void> {
    if (this.#hasEnded) return;
    await this.head();
    this.#client.end();
  }

  #hand(chunk: Buffer, isLast: boolean): Promise<void> | undefined {
    if (this.#client.destroyed) throw new GatewayError("protocol", "the client went away");
    this.#writeHead(isLast && chunk.length > 0 ? chunk.length : undefined);
    if (!isLast) return this.#write(chunk);
    this.#hasEnded = true;
    this.#client.end(chunk);
    return undefined;
  }

  #write(chunk: Buffer): Promise<void> | undefined {
    if (this.#plan.form !== "objects")
      return this.#client.write(chunk) ? undefined : this.#drained();
    this.#ahead += chunk.length;
    const isTaken = this.#client.write(chunk, () => {
      this.#ahead -= chunk.length;
    });
    return isTaken || this.#ahead <= LIST_AHEAD_BYTES ? undefined : this.#drained();
  }

  async #drained(): Promise<void> {
    const { signal } = this.#plan;
    await new Promise<void>((resolve) => {
      const over = () => {
        this.#client.off("drain", over);
        this.#client.off("close", over);
        signal.removeEventListener("abort", over);
        resolve();
      };
      this.#client.once("drain", over);
      this.#client.once("close", over);
      signal.addEventListener("abort", over);
    });
    signal.throwIfAborted();
    if (this.#client.destroyed) throw new GatewayError("protocol", "the client went away");
  }
}

/** At once where there is nothing to wait for: a promise for each of a thousand watches is what takes time. */
function after(
  wait: Promise<void> | undefined,
  then: () => Promise<void> | undefined,
): Promise<void> | undefined {
  return wait === undefined ? then() : wait.then(then);
}

function limited(what: string): GatewayError {
  return new GatewayError(
    "limit",
    `the answer has more than ${what}, which a policy or grant allows`,
    {
      hint: "ask for less",
    },
  );
}

function unavailable(message: string, cause?: unknown): GatewayError {
  return new GatewayError("target_unavailable", message, { cause });
}
