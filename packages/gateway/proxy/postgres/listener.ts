// The PostgreSQL listener: accepts, signs in, opens the way to the target, hands over to the relay.
// Every failure on the way is a FATAL in PostgreSQL's own form; none leaves a socket behind.
//
// Who owns the state: the listener owns its sockets until the relay has them, and all sessions' ends.

import { createServer, type Server, type Socket } from "node:net";
import type { SecureContext, TLSSocket } from "node:tls";
import {
  authenticationOk,
  authenticationSaslFinal,
  backendKeyData,
  parameterStatus,
  readyForQuery,
} from "@custody/wire/postgres/backend.ts";
import { scramServerFinal } from "@custody/wire/postgres/scram-server.ts";
import type { Access, Subject } from "../../access/operation.ts";
import type { Journal } from "../../audit/journal.ts";
import type { Clock } from "../../base/clock.ts";
import { GatewayError, toGatewayError } from "../../base/errors.ts";
import type { RandomBytes } from "../../base/ids.ts";
import { createPacer, type Pacer } from "../../base/pacer.ts";
import { type Chain, rootOf } from "../../delegation/chain.ts";
import { createMaskMemory } from "../../masking/given-masks.ts";
import { createMatchBudget, type MatchBudget } from "../../masking/match-budget.ts";
import type { RecordedSession, Recorder } from "../../recording/recorder.ts";
import type { Control, OpenedSession } from "../../session/control.ts";
import { recordedSession } from "../../session/recorded-session.ts";
import { type PostgresTarget, speaks, type Target } from "../../target/target.ts";
import { APPLICATION_NAME, applicationName } from "./application-name.ts";
import { type CancelKey, CancelRegistry, type IssuedCancelKey } from "./cancels.ts";
import { CommandBook } from "./command-book.ts";
import { fatalResponse } from "./faults.ts";
import type { Classifier } from "./plan.ts";
import { Relay } from "./relay.ts";
import type { RelayLimits } from "./relay-state.ts";
import { ReplicationRelay } from "./replication.ts";
import type { Replicated } from "./replication-command.ts";
import { requireReplication } from "./replication-judge.ts";
import type { ResultMasks } from "./row-check.ts";
import { upstreamSettings } from "./session-settings.ts";
import { judgeSetting, type SettingBounds } from "./settings.ts";
import type { SignInDeps } from "./sign-in.ts";
import { receiveStartup, type SessionStart } from "./startup.ts";
import { NO_MASKS, TRANSPARENT_CLASSIFIER } from "./transparent.ts";
import { cancelUpstream, connectUpstream, type Upstream, type UpstreamDeps } from "./upstream.ts";

export interface PostgresListenerDeps {
  readonly host: string;
  readonly port: number;
  readonly secureContext: () => SecureContext;
  /** How clients may show who they are; a reload gives another. */
  readonly signIn: () => Pick<SignInDeps, "ways" | "oauth">;
  readonly targets: () => ReadonlyMap<string, Target>;
  readonly control: Control;
  readonly access: Access;
  readonly journal: Journal;
  readonly clock: Clock;
  readonly random: RandomBytes;
  readonly openRecorder: (session: RecordedSession) => Recorder;
  /** The classifier of one database, its catalogue read; and the masks that go with it. */
  readonly classifierFor: (
    target: PostgresTarget,
    database: string,
  ) => Promise<{ readonly classifier: Classifier; readonly masks: ResultMasks }>;
  /** PEM of the target's CA; undefined: the system's roots. */
  readonly targetCa: (target: PostgresTarget) => Promise<string | undefined>;
  readonly limits: PostgresLimits;
  /** A cancel for a session that is not in this process; absent: there is no other. */
  readonly cancelElsewhere?: ((cancel: CancelKey) => void) | undefined;
  readonly log: (message: string, error?: unknown) => void;
}

export interface PostgresLimits extends RelayLimits {
  readonly maxConnections: number;
  readonly startupTimeoutMs: number;
  readonly targetConnectTimeoutMs: number;
  /** A session that sent no command for so long, and waits for no answer, is ended. */
  readonly sessionIdleMs: number;
  /** How long running commands may go on once the listener closes. */
  readonly shutdownGraceMs: number;
}

export interface PostgresListener extends AsyncDisposable {
  readonly port: number;
  /** Sessions that are past sign-in. */
  readonly sessions: number;
  /** A cancel that came to another process; nothing happens when its session is not here. */
  cancel(cancel: CancelKey): void;
}

const MAX_STARTUP_BYTES = 10_000;
const MAX_PASSWORD_BYTES = 65_536;
const REFUSAL_TIMEOUT_MS = 5_000;
/** How late an idle session may be noticed. */
const IDLE_SWEEP_MS = 1000;

export async function listenPostgres(deps: PostgresListenerDeps): Promise<PostgresListener> {
  const gateway = new Gateway(deps);
  const server = createServer({ noDelay: true, keepAlive: true }, (socket) =>
    gateway.accept(socket),
  );
  server.maxConnections = deps.limits.maxConnections;
  await new Promise<void>((resolve, reject) => {
    server.once("error", (cause) =>
      reject(
        new GatewayError("configuration", `cannot listen on ${deps.host}:${deps.port}`, { cause }),
      ),
    );
    server.listen(deps.port, deps.host, resolve);
  });
  server.on("error", (error) => deps.log("postgres listener", error));
  return {
    port: portOf(server),
    get sessions() {
      return gateway.sessions;
    },
    cancel: (cancel) => void gateway.cancel(cancel),
    async [Symbol.asyncDispose]() {
      server.close();
      await gateway.close();
    },
  };
}

function portOf(server: Server): number {
  const address = server.address();
  return typeof address === "object" && address !== null ? address.port : 0;
}

interface SessionParts {
  readonly target: PostgresTarget;
  readonly upstream: Upstream;
  readonly settings: ReadonlyMap<string, string>;
  readonly cancel: (isWanted: () => boolean) => Promise<void>;
  readonly classifier: Classifier;
  readonly masks: ResultMasks;
  /** Of a replication: opened before, since its start-up is a decision. */
  readonly books: Books | undefined;
}

/** What a session is once it is open, whatever goes over it. */
type LiveRelay = Pick<Relay, "run" | "end" | "drain" | "cancel" | "notice" | "takeActivity">;

interface Books {
  readonly book: CommandBook;
  readonly recorder: Recorder;
}

class Gateway {
  readonly #deps: PostgresListenerDeps;
  readonly #cancels: CancelRegistry;
  readonly #maskMemory = createMaskMemory();
  readonly #matchBudget: MatchBudget;
  readonly #sockets = new Set<Socket>();
  /** With when they were last seen to do something, by the monotonic clock. */
  readonly #relays = new Map<LiveRelay, number>();
  readonly #startups = new Set<AbortController>();
  readonly #serving = new Set<Promise<void>>();
  readonly #idleTimer: NodeJS.Timeout;
  readonly #closings: Pacer;
  #closing: GatewayError | undefined;

  constructor(deps: PostgresListenerDeps) {
    this.#deps = deps;
    this.#matchBudget = createMatchBudget(deps.clock, deps.limits.matchesPerHour);
    this.#cancels = new CancelRegistry(deps.random);
    this.#closings = createPacer((thrown) => deps.log("a session was not closed well", thrown));
    this.#idleTimer = setInterval(() => this.#endIdle(), IDLE_SWEEP_MS).unref();
  }

  get sessions(): number {
    return this.#relays.size;
  }

  accept(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on("error", () => socket.destroy());
    socket.on("close", () => this.#sockets.delete(socket));
    const serving = this.#serve(socket)
      .catch((error) => {
        this.#deps.log("connection ended by a fault", error);
        socket.destroy();
      })
      .finally(() => this.#serving.delete(serving));
    this.#serving.add(serving);
  }

  /** False: the key is of no session in this process. */
  cancel({ processId, key }: CancelKey): boolean {
    return this.#cancels.request(processId, key);
  }

  /** What runs may end by itself for a while; settles when every session is closed and its role gone. */
  async close(): Promise<void> {
    const error = new GatewayError("shutdown", "the gateway is stopping", {
      hint: "connect again in a moment",
    });
    this.#closing = error;
    clearInterval(this.#idleTimer);
    for (const startup of this.#startups) startup.abort(error);
    for (const relay of this.#relays.keys()) relay.drain(error);
    const grace = setTimeout(() => {
      for (const relay of this.#relays.keys()) relay.end(error);
    }, this.#deps.limits.shutdownGraceMs);
    await Promise.all(this.#serving);
    clearTimeout(grace);
    for (const socket of this.#sockets) socket.destroy();
  }

  #endIdle(): void {
    const { clock, limits } = this.#deps;
    const nowMs = clock.monotonicMs();
    for (const [relay, seenMs] of this.#relays) {
      if (relay.takeActivity()) this.#relays.set(relay, nowMs);
      else if (nowMs - seenMs >= limits.sessionIdleMs)
        relay.end(
          new GatewayError("idle", "this session sent no command for too long and was ended", {
            hint: "connect again",
          }),
        );
    }
  }

  async #serve(accepted: Socket): Promise<void> {
    const deps = this.#deps;
    let speaking: Socket = accepted;
    try {
      const start = await this.#receiveStartup(accepted, (secure) => {
        speaking = secure;
      });
      if (start === undefined) accepted.destroy();
      else if (start.kind === "cancel") {
        if (!this.cancel(start))
          deps.cancelElsewhere?.({ processId: start.processId, key: start.key });
        speaking.end();
      } else await this.#openSession(start, accepted);
    } catch (thrown) {
      const error = toGatewayError(thrown);
      if (error.code === "internal" || error.code === "target_unavailable")
        deps.log(error.message, error.cause);
      if (speaking.writable) speaking.end(fatalResponse(error));
      setTimeout(() => accepted.destroy(), 1_000).unref();
    }
  }

  /** The dialogue before a session, which ends in time whatever the peer does or does not do. */
  async #receiveStartup(accepted: Socket, onSecure: (socket: TLSSocket) => void) {
    const { limits, random, secureContext, signIn } = this.#deps;
    const startup = new AbortController();
    const timer = setTimeout(
      () => startup.abort(new GatewayError("protocol", "signing in took too long")),
      limits.startupTimeoutMs,
    );
    this.#startups.add(startup);
    try {
      const sizes = { maxStartupBytes: MAX_STARTUP_BYTES, maxPasswordBytes: MAX_PASSWORD_BYTES };
      const door = { ...signIn(), random, secureContext, ...sizes };
      return await receiveStartup(accepted, door, startup.signal, onSecure);
    } catch (thrown) {
      throw startup.signal.aborted ? startup.signal.reason : thrown;
    } finally {
      clearTimeout(timer);
      this.#startups.delete(startup);
    }
  }

  async #openSession(start: SessionStart, accepted: Socket): Promise<void> {
    const { control } = this.#deps;
    const clientAddress = accepted.remoteAddress ?? "unknown";
    let relay: LiveRelay | undefined;
    let ending: GatewayError | undefined;
    let book: CommandBook | undefined;
    let chain: Chain | undefined;
    const opened = await openedOrRefused(
      start,
      control.openSession(
        {
          protocol: "postgres",
          credential: start.credential,
          target: start.target,
          account: start.account,
          database: start.database,
          clientAddress,
        },
        {
          onEnd: (end) => {
            ending = new GatewayError(end.code, end.message, hintOf(end.hint));
            relay?.end(ending);
          },
          onWarning: (message) =>
            relay?.notice({ requestId: undefined, message, detail: undefined, hint: undefined }),
          onChain: (next) => {
            chain = next;
            book?.replaceChain(next);
          },
        },
      ),
    );
    let reason = "sign-in failed";
    try {
      const session = await this.#connect(start, opened, clientAddress);
      relay = session.relay;
      book = session.book;
      // It may have changed while the target was connected to.
      if (chain !== undefined) book.replaceChain(chain);
      ending ??= this.#closing;
      if (ending !== undefined) {
        session.upstream.socket.destroy();
        throw ending;
      }
      const running = relay.run();
      this.#relays.set(relay, this.#deps.clock.monotonicMs());
      greet(start, opened, session.upstream, session.key);
      reason = await running;
      this.#relays.delete(relay);
      this.#cancels.remove(session.key.processId);
      this.#deps.access.forget(opened.sessionId);
      const summary = session.recorder.end();
      await control.closeSession(opened.sessionId, reason, summary);
    } catch (error) {
      await control.closeSession(opened.sessionId, reason, undefined);
      throw error;
    }
  }

  async #connect(start: SessionStart, opened: OpenedSession, clientAddress: string) {
    const target = this.#deps.targets().get(start.target);
    if (target === undefined || !speaks(target, "postgres"))
      throw new GatewayError("not_found", "the target was taken away");
    if (start.replication === undefined)
      return await this.#reach(target, start, opened, clientAddress, undefined);
    // Whether it may be at all is decided before the target hears of it.
    const books = this.#openBooks(target, start, opened, clientAddress);
    try {
      requireReplication(books.book, replicatedBy(start, target));
      return await this.#reach(target, start, opened, clientAddress, books);
    } catch (thrown) {
      books.recorder.end();
      throw thrown;
    }
  }

  /** To the target and back to a relay that is ready to run. */
  async #reach(
    target: PostgresTarget,
    start: SessionStart,
    opened: OpenedSession,
    clientAddress: string,
    books: Books | undefined,
  ) {
    const deps = this.#deps;
    const upstreamDeps: UpstreamDeps = {
      random: deps.random,
      ca: await deps.targetCa(target),
      connectTimeoutMs: deps.limits.targetConnectTimeoutMs,
      maxFrameBytes: deps.limits.maxFrameBytes,
    };
    const settings = upstreamSettings(
      target,
      opened.sessionId,
      opened.chain,
      start.settings,
      start.applicationName,
    );
    if (start.replication !== undefined)
      settings.set("replication", start.replication === "server" ? "true" : "database");
    const connecting = connectUpstream(
      target,
      start.database,
      opened.upstream,
      settings,
      upstreamDeps,
    );
    const [connected, classifying] = await Promise.allSettled([
      connecting,
      target.transparent === true || start.replication === "server"
        ? { classifier: TRANSPARENT_CLASSIFIER, masks: NO_MASKS }
        : deps.classifierFor(target, start.database),
    ]);
    if (connected.status === "rejected") throw connected.reason;
    const upstream = connected.value;
    if (classifying.status === "rejected") {
      upstream.socket.destroy();
      throw classifying.reason;
    }
    const { classifier } = classifying.value;
    const unfit =
      loosenedSetting(start.settings, classifier.settingBounds) ??
      (await otherVersion(target.name, upstream, classifier));
    if (unfit !== undefined) {
      upstream.socket.destroy();
      throw unfit;
    }
    deps.control.attachBackend(opened.sessionId, upstream.processId);
    try {
      const cancel = (isWanted: () => boolean) =>
        cancelUpstream(target, upstream.processId, upstream.cancelKey, upstreamDeps, isWanted);
      const parts = { target, upstream, settings, cancel, books, ...classifying.value };
      return this.#assemble(start, opened, clientAddress, parts);
    } catch (thrown) {
      upstream.socket.destroy();
      throw thrown;
    }
  }

  /** Nothing here waits: the target is connected, and what it is for is known. */
  #assemble(
    start: SessionStart,
    opened: OpenedSession,
    clientAddress: string,
    parts: SessionParts,
  ) {
    const { target, upstream } = parts;
    const { book, recorder } = parts.books ?? this.#openBooks(target, start, opened, clientAddress);
    const relay = this.#relayOf(start, opened, parts, book);
    recorder.onBehind((error) => relay.end(error));
    const processId = target.transparent === true ? upstream.processId : 0;
    const key = this.#cancels.register(start.minor, () => relay.cancel(), processId);
    return { relay, book, upstream, key, recorder };
  }

  #relayOf(
    start: SessionStart,
    opened: OpenedSession,
    parts: SessionParts,
    book: CommandBook,
  ): LiveRelay {
    const deps = this.#deps;
    const { target, upstream } = parts;
    if (start.replication !== undefined)
      return new ReplicationRelay(start.socket, upstream, {
        book,
        journal: deps.journal,
        replicated: replicatedBy(start, target),
        classifier: parts.classifier,
        masks: parts.masks,
        maxFrameBytes: deps.limits.maxFrameBytes,
        cancelUpstream: parts.cancel,
        log: deps.log,
      });
    return new Relay(start.socket, upstream, {
      sessionId: opened.sessionId,
      target,
      database: start.database,
      book,
      classifier: parts.classifier,
      masks: parts.masks,
      journal: deps.journal,
      control: deps.control,
      clock: deps.clock,
      limits: deps.limits,
      settings: parts.settings,
      applicationName: applicationName(start.applicationName),
      given: this.#maskMemory(rootOf(opened.chain).delegationId),
      guesses: this.#matchBudget(rootOf(opened.chain).subject),
      cancelUpstream: parts.cancel,
      later: this.#closings.later,
      log: deps.log,
    });
  }

  #openBooks(
    target: PostgresTarget,
    start: SessionStart,
    opened: OpenedSession,
    clientAddress: string,
  ): Books {
    const deps = this.#deps;
    const subject: Subject = {
      sessionId: opened.sessionId,
      chain: opened.chain,
      target: target.name,
      account: opened.account,
      targetTags: target.tags,
      clientAddress,
      justification: start.justification,
    };
    const recorder = deps.openRecorder(
      recordedSession(target, opened, clientAddress, described(start)),
    );
    const book = new CommandBook(subject, {
      access: deps.access,
      journal: deps.journal,
      recorder,
      denied: (denied) => deps.control.noteDenial(denied),
    });
    return { book, recorder };
  }
}

/** Who showed a credential that is worth nothing is told so in its own mechanism's form first. */
async function openedOrRefused(
  { refuse }: SessionStart,
  opening: Promise<OpenedSession>,
): Promise<OpenedSession> {
  try {
    return await opening;
  } catch (thrown) {
    if (refuse !== undefined && toGatewayError(thrown).code === "unauthenticated")
      await refuse(AbortSignal.timeout(REFUSAL_TIMEOUT_MS));
    throw thrown;
  }
}

/** A start-up parameter above what sessions of this database begin with. */
function loosenedSetting(
  settings: ReadonlyMap<string, string>,
  bounds: SettingBounds | undefined,
): GatewayError | undefined {
  for (const [name, value] of settings) {
    const judged = judgeSetting(name, value, bounds);
    if (!judged.ok)
      return new GatewayError("invalid", `start-up parameter ${name}: ${judged.reason}`);
  }
  return undefined;
}

function replicatedBy({ database, replication }: SessionStart, target: PostgresTarget): Replicated {
  return {
    place: { target: target.name, database },
    physical: replication === "server",
    classified: target.classify.length > 0,
    detects: target.detect !== undefined,
  };
}

/** Texts are read by the grammar of the catalogue's server: the session's has to be of that version. */
async function otherVersion(
  target: string,
  { parameters }: Upstream,
  classifier: Classifier,
): Promise<GatewayError | undefined> {
  const major = Number(/^[0-9]+/.exec(parameters.get("server_version") ?? "")?.[0]);
  const isSame = () =>
    classifier.serverVersion === undefined ||
    Math.floor(classifier.serverVersion / 10_000) === major;
  if (isSame()) return undefined;
  // It was upgraded since the catalogue was read.
  await classifier.refresh();
  if (isSame()) return undefined;
  return new GatewayError(
    "target_unavailable",
    `target ${target}: the server is of another version than the one its catalogue was read of`,
  );
}

/** What only this protocol knows of a session, for its recording. */
function described({ applicationName, database, justification }: SessionStart) {
  return {
    database,
    application: applicationName ?? "",
    ...(justification === undefined ? {} : { justification }),
  };
}

function hintOf(hint: string | undefined): { hint?: string } {
  return hint === undefined ? {} : { hint };
}

/** Everything a client is told before its first command; the key is ours, never the target's. */
function greet(
  start: SessionStart,
  { serverProof }: OpenedSession,
  upstream: Upstream,
  key: IssuedCancelKey,
): void {
  const socket: TLSSocket = start.socket;
  const messages = [authenticationOk()];
  if (serverProof !== undefined)
    messages.unshift(authenticationSaslFinal(scramServerFinal(serverProof)));
  for (const [name, value] of upstream.parameters)
    messages.push(
      parameterStatus(
        name,
        name === APPLICATION_NAME ? applicationName(start.applicationName) : value,
      ),
    );
  messages.push(backendKeyData(key.processId, key.key), readyForQuery("I"));
  socket.write(Buffer.concat(messages));
}
