// The SSH listener: accepts, signs in, opens the way to the target, hands over to the relay. Every
// failure on the way is told before the connection ends; none leaves a socket behind.
//
// Who owns the state: the listener owns its sockets until the relay has them, and all sessions' ends.

import { createServer, type Server, type Socket } from "node:net";
import { SshConnection } from "@custody/wire/ssh/connection.ts";
import type { SshHostKey } from "@custody/wire/ssh/options.ts";
import type { Access } from "../../access/operation.ts";
import type { Journal } from "../../audit/journal.ts";
import type { Clock } from "../../base/clock.ts";
import { GatewayError } from "../../base/errors.ts";
import type { Grammars } from "../../command/load-grammars.ts";
import type { Chain } from "../../delegation/chain.ts";
import type { RecordedSession, Recorder } from "../../recording/recorder.ts";
import type {
  Control,
  OpenedSession,
  ParticipantAct,
  ShownCredential,
  UpstreamCredential,
} from "../../session/control.ts";
import { recordedSession } from "../../session/recorded-session.ts";
import { SessionBook } from "../../session/session-book.ts";
import type { SshTarget, Target } from "../../target/target.ts";
import { CommandConnections } from "./command-connections.ts";
import { Judge } from "./judge.ts";
import { isOwnTarget } from "./own-targets.ts";
import { SshPeer } from "./peer.ts";
import { Relay } from "./relay.ts";
import { type Destination, SignIn } from "./sign-in.ts";
import { connectUpstream } from "./upstream.ts";
import { DISCONNECT_REASON, disconnectText } from "./wording.ts";

export interface SshListenerDeps {
  readonly host: string;
  readonly port: number;
  readonly hostKeys: () => readonly SshHostKey[];
  /** Whether a certificate could sign in from there, its key not proved yet. Throws GatewayError. */
  readonly checkCertificate: (certificate: Buffer, clientAddress: string) => void;
  readonly targets: () => ReadonlyMap<string, Target>;
  readonly control: Control;
  readonly access: Access;
  readonly journal: Journal;
  readonly clock: Clock;
  readonly grammars: Grammars;
  readonly openRecorder: (session: RecordedSession) => Recorder;
  readonly limits: SshLimits;
  readonly log: (message: string, error?: unknown) => void;
}

export interface SshLimits {
  readonly maxConnections: number;
  readonly startupTimeoutMs: number;
  readonly targetConnectTimeoutMs: number;
  readonly sessionIdleMs: number;
  readonly shutdownGraceMs: number;
  readonly holdWaitMs: number;
  readonly holdReminderMs: number;
}

export interface SshListener extends AsyncDisposable {
  readonly port: number;
  /** Sessions that are past sign-in. */
  readonly sessions: number;
}

/**
 * OpenSSH speaks its extensions only to what calls itself so: without eow@openssh.com a client whose
 * reader has gone (`ssh host yes | head -1`) would never end.
 */
const SOFTWARE = "OpenSSH_compatible_Custody";
const IDLE_SWEEP_MS = 1000;
const CHANNELS_PER_SESSION = 256;

export async function listenSsh(deps: SshListenerDeps): Promise<SshListener> {
  const door = new Door(deps);
  const server = createServer({ noDelay: true, keepAlive: true }, (socket) => door.accept(socket));
  server.maxConnections = deps.limits.maxConnections;
  await new Promise<void>((resolve, reject) => {
    server.once("error", (cause) =>
      reject(
        new GatewayError("configuration", `cannot listen on ${deps.host}:${deps.port}`, { cause }),
      ),
    );
    server.listen(deps.port, deps.host, resolve);
  });
  server.on("error", (error) => deps.log("ssh listener", error));
  return {
    port: portOf(server),
    get sessions() {
      return door.sessions;
    },
    async [Symbol.asyncDispose]() {
      server.close();
      await door.close();
    },
  };
}

function portOf(server: Server): number {
  const address = server.address();
  return typeof address === "object" && address !== null ? address.port : 0;
}

/** Signed in and connected, before the client is told. */
interface Opened {
  readonly relay: Relay;
  readonly judge: Judge;
  readonly recorder: Recorder;
  readonly session: OpenedSession;
  readonly ending: () => GatewayError | undefined;
}

class Door {
  readonly #deps: SshListenerDeps;
  readonly #peers = new Set<SshPeer>();
  /** With when they were last seen to do something, by the monotonic clock. */
  readonly #relays = new Map<Relay, number>();
  readonly #serving = new Set<Promise<void>>();
  readonly #idleTimer: NodeJS.Timeout;
  #closing: GatewayError | undefined;

  constructor(deps: SshListenerDeps) {
    this.#deps = deps;
    this.#idleTimer = setInterval(() => this.#endIdle(), IDLE_SWEEP_MS).unref();
  }

  get sessions(): number {
    return this.#relays.size;
  }

  accept(socket: Socket): void {
    const serving = this.#serve(socket)
      .catch((error) => {
        this.#deps.log("connection ended by a fault", error);
        socket.destroy();
      })
      .finally(() => this.#serving.delete(serving));
    this.#serving.add(serving);
  }

  /** What runs may end by itself for a while; settles when every session is closed. */
  async close(): Promise<void> {
    const error = new GatewayError("shutdown", "the gateway is stopping", {
      hint: "connect again in a moment",
    });
    this.#closing = error;
    clearInterval(this.#idleTimer);
    for (const peer of this.#peers)
      peer.disconnect(DISCONNECT_REASON.shutdown, disconnectText(error));
    for (const relay of this.#relays.keys()) relay.drain(error);
    const grace = setTimeout(() => {
      for (const relay of this.#relays.keys()) relay.end(error);
    }, this.#deps.limits.shutdownGraceMs);
    await Promise.all(this.#serving);
    clearTimeout(grace);
  }

  #endIdle(): void {
    const { clock, limits } = this.#deps;
    const nowMs = clock.monotonicMs();
    for (const [relay, seenMs] of this.#relays) {
      if (relay.takeActivity()) this.#relays.set(relay, nowMs);
      else if (nowMs - seenMs >= limits.sessionIdleMs)
        relay.end(
          new GatewayError("idle", "this session did nothing for too long and was ended", {
            hint: "connect again",
          }),
        );
    }
  }

  /** Settles when the connection is over and its session closed. */
  async #serve(socket: Socket): Promise<void> {
    const { clock, control, hostKeys, limits } = this.#deps;
    const clientAddress = socket.remoteAddress ?? "unknown";
    const connection = new SshConnection({
      role: "server",
      software: SOFTWARE,
      hostKeys: hostKeys(),
      limits: { maxChannels: CHANNELS_PER_SESSION },
      nowMs: () => clock.monotonicMs(),
    });
    const peer = new SshPeer(socket, connection, this.#deps.log);
    this.#peers.add(peer);
    const late = () => peer.disconnect(DISCONNECT_REASON.protocol, "signing in took too long");
    let timer = setTimeout(late, limits.startupTimeoutMs);
    const signIns: string[] = [];
    const onBegun = (id: string, expiresAtMs: number) => {
      signIns.push(id);
      clearTimeout(timer);
      timer = setTimeout(late, expiresAtMs - clock.nowMs() + limits.startupTimeoutMs);
      if (peer.isGone) control.endSignIn(id);
    };
    try {
      let opened: Opened | undefined;
      try {
        opened = await this.#signIn(peer, clientAddress, onBegun);
      } finally {
        clearTimeout(timer);
        this.#peers.delete(peer);
      }
      if (opened !== undefined) await this.#run(opened);
    } finally {
      for (const id of signIns) control.endSignIn(id);
    }
  }

  /** undefined: the client went away, or was turned away. */
  #signIn(
    peer: SshPeer,
    clientAddress: string,
    onBegun: (id: string, expiresAtMs: number) => void,
  ): Promise<Opened | undefined> {
    const { checkCertificate, control, log } = this.#deps;
    const { promise, resolve, reject } = Promise.withResolvers<Opened | undefined>();
    let opening: Promise<Opened> | undefined;
    const signIn = new SignIn(peer, {
      log,
      checkCertificate: (certificate) => checkCertificate(certificate, clientAddress),
      code: {
        beginSignIn: (provider) => control.beginSignIn(provider),
        finishSignIn: (id) => control.finishSignIn(id),
        onBegun,
      },
      open: async (credential, destination) => {
        opening = this.#open(peer, credential, destination, clientAddress);
        await opening;
      },
    });
    peer.handle({
      onEvent(event) {
        if (event.kind === "authenticated") {
          peer.pause();
          opening?.then(resolve, reject);
        } else if (event.kind.startsWith("auth-")) signIn.handle(event as never);
      },
      onGone: () => {
        // What was opened meanwhile is closed by whoever runs it: its client is gone.
        if (opening === undefined) resolve(undefined);
        else opening.then(resolve, () => resolve(undefined));
      },
    });
    return promise;
  }

  async #open(
    client: SshPeer,
    credential: ShownCredential,
    destination: Destination,
    clientAddress: string,
  ): Promise<Opened> {
    const { control } = this.#deps;
    let relay: Relay | undefined;
    let ending: GatewayError | undefined;
    let book: SessionBook | undefined;
    let chain: Chain | undefined;
    const early: ParticipantAct[] = [];
    const session = await control.openSession(
      { protocol: "ssh", credential, ...destination, database: "", clientAddress },
      {
        onEnd: (end) => {
          const hint = end.hint === undefined ? {} : { hint: end.hint };
          ending = new GatewayError(end.code, end.message, hint);
          relay?.end(ending);
        },
        onWarning: (message) => relay?.notice(message),
        onParticipant: (act) => {
          if (relay !== undefined) relay.participant(act);
          else if (act.act === "join") early.push(act);
        },
        onChain: (next) => {
          chain = next;
          book?.replaceChain(next);
        },
      },
    );
    try {
      const target = this.#target(destination.target);
      const upstream = await this.#connect(target, session.upstream);
      const parts = this.#assemble(client, upstream, target, session, clientAddress);
      ({ relay, book } = parts);
      // It may have changed while the target was connected to.
      if (chain !== undefined) book.replaceChain(chain);
      for (const act of early) relay.participant(act);
      return { ...parts, session, ending: () => ending ?? this.#closing };
    } catch (thrown) {
      await control.closeSession(session.sessionId, "sign-in failed", undefined);
      throw thrown;
    }
  }

  #connect(target: SshTarget, credential: UpstreamCredential): Promise<SshPeer> {
    const { limits, clock, log } = this.#deps;
    return connectUpstream(target, credential, {
      ...{ clock, log, software: SOFTWARE, connectTimeoutMs: limits.targetConnectTimeoutMs },
    });
  }

  #target(name: string): SshTarget {
    const target = this.#deps.targets().get(name);
    if (target?.protocol !== "ssh")
      throw new GatewayError("not_found", "the target was taken away");
    return target;
  }

  #assemble(
    client: SshPeer,
    upstream: SshPeer,
    target: SshTarget,
    session: OpenedSession,
    clientAddress: string,
  ) {
    const { access, clock, control, grammars, journal, limits, log, openRecorder, targets } =
      this.#deps;
    const { account, chain, sessionId } = session;
    const recorder = openRecorder(recordedSession(target, session, clientAddress));
    const book = new SessionBook(
      {
        ...{ sessionId, chain, target: target.name, account, clientAddress },
        targetTags: target.tags,
        justification: undefined,
      },
      { access, journal, recorder, denied: (denied) => control.noteDenial(denied) },
    );
    const { holdReminderMs, holdWaitMs } = limits;
    const judge = new Judge({
      ...{ book, journal, control, clock, holdReminderMs, holdWaitMs },
      detect: target.detect ?? [],
    });
    const relay: Relay = new Relay(client, upstream, {
      ...{ judge, recorder, grammars, clock, log },
      site: { target: target.name, account },
      ...shellOf(target, account),
      showParticipant: (participant, view) => control.showParticipant(sessionId, participant, view),
      commandConnections: new CommandConnections({
        credentialFor: async (line) => control.commandCredential?.(session.sessionId, line),
        connect: (credential) => this.#connect(target, credential),
      }),
      isOwnTarget: (host, port, mayLookUp) => isOwnTarget(targets(), target, host, port, mayLookUp),
    });
    recorder.onBehind((error) => relay.end(error));
    return { relay, book, judge, recorder };
  }

  async #run({ ending, judge, recorder, relay, session }: Opened): Promise<void> {
    const { access, clock, control } = this.#deps;
    const running = relay.run();
    this.#relays.set(relay, clock.monotonicMs());
    const already = ending();
    if (already !== undefined) relay.end(already);
    const reason = await running;
    this.#relays.delete(relay);
    // Nothing of a session is written down after its end.
    await judge.close();
    access.forget(session.sessionId);
    await control.closeSession(session.sessionId, reason, recorder.end());
  }
}

function shellOf({ accounts }: SshTarget, account: string) {
  const { holdToRun = false, shell } = accounts.find(({ name }) => name === account) ?? {};
  return { holdToRun, shell };
}
