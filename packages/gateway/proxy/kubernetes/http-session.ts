// Sessions of clients that have none: HTTP knows only requests, so those that show the same credential
// for the same target, account and address share one session, which ends when it was idle for long or its
// delegation is over. Whatever runs in it then, watches and streams too, ends at once (I9).
//
// Who owns the state: one set of sessions a listener; each owns its connections to the API server.

import { hash } from "node:crypto";
import type { Access } from "../../access/operation.ts";
import type { Journal } from "../../audit/journal.ts";
import type { Clock } from "../../base/clock.ts";
import { GatewayError } from "../../base/errors.ts";
import type { RecordedSession, Recorder } from "../../recording/recorder.ts";
import type { Control, ShownCredential } from "../../session/control.ts";
import { recordedSession } from "../../session/recorded-session.ts";
import { SessionBook } from "../../session/session-book.ts";
import { type KubernetesTarget, speaks, type Target } from "../../target/target.ts";
import { ShownObjects } from "./item-filter.ts";
import { judgeAgain, type Running } from "./judged-again.ts";
import { Turns } from "./turns.ts";
import { openUpstream, type Upstream } from "./upstream.ts";

export interface HttpSessionsDeps {
  readonly targets: () => ReadonlyMap<string, Target>;
  readonly control: Control;
  readonly access: Access;
  readonly journal: Journal;
  readonly clock: Clock;
  readonly openRecorder: (session: RecordedSession) => Recorder;
  /** PEM of the authority of a target's certificate; undefined: the system's. */
  readonly targetCa: (target: KubernetesTarget) => Promise<string | undefined>;
  readonly sessionIdleMs: number;
  readonly targetConnectTimeoutMs: number;
  readonly maxSessions: number;
  readonly log: (message: string, error?: unknown) => void;
}

export interface ShownIdentity {
  readonly credential: ShownCredential;
  /** The same for who shows the same. */
  readonly identity: string;
  /** When it is to be looked at again, by what it says of itself. */
  readonly untilMs: number;
  /** Why, in the requestor's words. */
  readonly justification: string | undefined;
}

/** What a request says of itself before anything is believed. */
export interface Shown extends ShownIdentity {
  readonly target: string;
  readonly account: string | undefined;
  readonly clientAddress: string;
}

/** Within it what runs and is no longer permitted ends. */
const SWEEP_MS = 1000;
const MAX_LATE = 256;
/** Of one session: watches, and what is answered at once, of which the rest waits. */
const MAX_RUNNING = 8192;
const MAX_AT_ONCE = 64;
/** Before a token is over another session is opened, with another. */
const TOKEN_MARGIN_MS = 60_000;

export class HttpSession {
  readonly id: string;
  readonly target: KubernetesTarget;
  readonly book: SessionBook;
  readonly upstream: Upstream;
  /** Of lists and watches that are filtered. */
  readonly shown = new ShownObjects();
  /** Of what is answered at once. */
  readonly turns = new Turns(MAX_AT_ONCE);
  /** Requests that waited too long for people, by what they bind: how often they were sent away. */
  readonly #late = new Map<string, number>();
  /** Nothing new begins in it from then on: the token that was made for it is over. */
  usableUntilMs = Number.POSITIVE_INFINITY;
  /** With what was permitted, once it was. */
  readonly #running = new Map<AbortController, readonly Running[]>();
  readonly #now: () => number;
  #lastMs: number;
  #ended: GatewayError | undefined;

  constructor(target: KubernetesTarget, book: SessionBook, upstream: Upstream, now: () => number) {
    this.id = book.subject.sessionId;
    this.target = target;
    this.book = book;
    this.upstream = upstream;
    this.#now = now;
    this.#lastMs = now();
  }

  get ended(): GatewayError | undefined {
    return this.#ended;
  }

  /** Throws GatewayError "limit". For one request: aborted, with a GatewayError as its reason, when the session ends. */
  begin(): AbortController {
    if (this.#running.size >= MAX_RUNNING)
      throw new GatewayError("limit", `${MAX_RUNNING} requests of this session run already`);
    const controller = new AbortController();
    if (this.#ended === undefined) this.#running.set(controller, []);
    else controller.abort(this.#ended);
    return controller;
  }

  /** From here on it is judged again while it runs. */
  permitted(controller: AbortController, running: Running): void {
    const known = this.#running.get(controller);
    if (known !== undefined) this.#running.set(controller, [...known, running]);
  }

  /** Ends what may not go on (I9). */
  judgeAgain(): void {
    for (const [controller, permitted] of this.#running)
      for (const running of permitted) {
        const reason = judgeAgain(this.book, running);
        if (reason !== undefined) controller.abort(reason);
      }
  }

  finish(controller: AbortController): void {
    this.#running.delete(controller);
    this.#lastMs = this.#now();
  }

  end(reason: GatewayError): void {
    if (this.#ended !== undefined) return;
    this.#ended = reason;
    for (const controller of this.#running.keys()) controller.abort(reason);
  }

  isIdleFor(ms: number): boolean {
    return this.#running.size === 0 && this.#now() - this.#lastMs >= ms;
  }

  /** How often the same was sent away already, this time included. */
  countLate(binding: string): number {
    const count = (this.#late.get(binding) ?? 0) + 1;
    if (this.#late.size >= MAX_LATE) this.#late.clear();
    this.#late.set(binding, count);
    return count;
  }
}

interface Entry {
  readonly opening: Promise<HttpSession>;
  /** When the credential itself is to be looked at again. */
  readonly credentialUntilMs: number;
}

export class HttpSessions implements AsyncDisposable {
  readonly #deps: HttpSessionsDeps;
  readonly #entries = new Map<string, Entry>();
  /** With what forgets how they are found. */
  readonly #live = new Map<HttpSession, () => void>();
  readonly #closing = new Set<Promise<void>>();
  readonly #timer: NodeJS.Timeout;
  #stopping: GatewayError | undefined;

  constructor(deps: HttpSessionsDeps) {
    this.#deps = deps;
    this.#timer = setInterval(() => this.#sweep(), SWEEP_MS).unref();
  }

  /** Throws GatewayError as Control.openSession does. */
  async of(shown: Shown): Promise<HttpSession> {
    if (this.#stopping !== undefined) throw this.#stopping;
    const { account, clientAddress, identity, justification, target } = shown;
    const all = JSON.stringify([identity, target, account, clientAddress, justification]);
    const key = hash("sha256", all, "base64url");
    for (;;) {
      const found = this.#entries.get(key);
      if (found === undefined || this.#deps.clock.nowMs() >= found.credentialUntilMs) break;
      const session = await found.opening;
      const isUsable = this.#deps.clock.nowMs() < session.usableUntilMs;
      if (session.ended === undefined && isUsable) return session;
      // Of all that waited for it the first opens another, and not each its own.
      if (this.#entries.get(key) === found) break;
    }
    return this.#open(key, shown);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#timer);
    this.#stopping = new GatewayError("shutdown", "the gateway is stopping", {
      hint: "try again in a moment",
    });
    for (const session of this.#live.keys()) session.end(this.#stopping);
    for (const session of this.#live.keys()) this.#close(session, "the gateway stopped");
    await Promise.allSettled(this.#closing);
  }

  #open(key: string, shown: Shown): Promise<HttpSession> {
    if (this.#entries.size >= this.#deps.maxSessions)
      throw new GatewayError("limit", "too many sessions are open");
    const opening = this.#connect(shown);
    const entry = { opening, credentialUntilMs: shown.untilMs };
    this.#entries.set(key, entry);
    const forget = () => {
      if (this.#entries.get(key) === entry) this.#entries.delete(key);
    };
    opening.then((session) => {
      this.#live.set(session, forget);
      if (session.ended !== undefined) this.#close(session, session.ended.message);
    }, forget);
    return opening;
  }

  async #connect(shown: Shown): Promise<HttpSession> {
    const { access, clock, control, journal } = this.#deps;
    const { account, clientAddress, justification, target: targetName } = shown;
    let session: HttpSession | undefined;
    let ending: GatewayError | undefined;
    let book: SessionBook | undefined;
    const opened = await control.openSession(
      {
        protocol: "kubernetes",
        credential: shown.credential,
        ...{ target: targetName, account, database: "", clientAddress },
      },
      {
        onEnd: (end) => {
          const hint = end.hint === undefined ? {} : { hint: end.hint };
          ending = new GatewayError(end.code, end.message, hint);
          session?.end(ending);
          if (session !== undefined) this.#close(session, end.message);
        },
        onWarning: () => undefined,
        onChain: (chain) => {
          book?.replaceChain(chain);
          session?.judgeAgain();
        },
      },
    );
    try {
      const target = this.#deps.targets().get(targetName);
      if (target === undefined || !speaks(target, "kubernetes"))
        throw new GatewayError("not_found", "the target was taken away");
      if (opened.upstream.kind !== "kubernetes")
        throw new GatewayError("internal", "a credential of another protocol");
      const ca = await this.#deps.targetCa(target);
      if (ending !== undefined) throw ending;
      const { untilMs } = opened.upstream;
      const { server } = target;
      const connectTimeoutMs = this.#deps.targetConnectTimeoutMs;
      const onRefused = () => {
        // What it is bound to may be gone. Of another kind the next session would have the same.
        if (session !== undefined && untilMs !== undefined) session.usableUntilMs = 0;
      };
      const upstream = openUpstream({ server, ca, connectTimeoutMs, onRefused }, opened.upstream);
      const recorder = this.#deps.openRecorder(recordedSession(target, opened, clientAddress));
      book = new SessionBook(
        {
          ...{ sessionId: opened.sessionId, chain: opened.chain, target: target.name },
          ...{ account: opened.account, targetTags: target.tags, clientAddress },
          justification,
        },
        { access, journal, recorder, denied: (denied) => control.noteDenial(denied) },
      );
      const own = new HttpSession(target, book, upstream, () => clock.monotonicMs());
      recorder.onBehind((error) => {
        own.end(error);
        this.#close(own, error.code);
      });
      if (untilMs !== undefined) own.usableUntilMs = untilMs - TOKEN_MARGIN_MS;
      session = own;
      return own;
    } catch (thrown) {
      await control.closeSession(opened.sessionId, "it could not be put together", undefined);
      throw thrown;
    }
  }

  #sweep(): void {
    const nowMs = this.#deps.clock.nowMs();
    for (const session of this.#live.keys()) {
      session.judgeAgain();
      // One that nothing begins in any more ends with what runs in it.
      const isOver = session.usableUntilMs <= nowMs;
      if (session.isIdleFor(isOver ? 0 : this.#deps.sessionIdleMs))
        this.#close(session, isOver ? "its token is over" : "idle");
    }
  }

  #close(session: HttpSession, reason: string): void {
    const forget = this.#live.get(session);
    if (forget === undefined) return;
    this.#live.delete(session);
    forget();
    session.end(new GatewayError("idle", "this session is over", { hint: "try again" }));
    const closing = this.#finish(session, reason)
      .catch((error) => this.#deps.log("a session was not closed well", error))
      .finally(() => this.#closing.delete(closing));
    this.#closing.add(closing);
  }

  async #finish(session: HttpSession, reason: string): Promise<void> {
    // What was aborted just now still writes how it ended.
    await new Promise((resolve) => setImmediate(resolve));
    this.#deps.access.forget(session.id);
    const summary = session.book.recorder.end();
    await session.upstream[Symbol.asyncDispose]();
    await this.#deps.control.closeSession(session.id, reason, summary);
  }
}

/** As many as a credential has at most (delegation/credential.ts). */
const MAX_PARTS = 66;

/** The earliest `exp` of the JWTs in it, unverified: a credential that says it is over is asked again. */
export function tokenExpiry(credential: string): number {
  let untilMs = Number.POSITIVE_INFINITY;
  for (const part of credential.split("~", MAX_PARTS)) {
    const payload = part.split(".")[1];
    if (payload === undefined) continue;
    try {
      const { exp } = JSON.parse(Buffer.from(payload, "base64url").toString()) as { exp?: unknown };
      if (typeof exp === "number") untilMs = Math.min(untilMs, exp * 1000);
    } catch {
      // Not a JWT; whether it is good is the control side's to say.
    }
  }
  return untilMs;
}
