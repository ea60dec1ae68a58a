// Forwarded connections: -L, -D and -W (direct-tcpip), -R (tcpip-forward), both of sockets too
// (streamlocal), and the client's agent and display, which back-channels.ts has the permits of. Each is an
// action of its own that nothing permits by default; the destination is the resource.
// To another target of the gateway nothing is forwarded, whoever asks: that would go round the decision
// on every command there.
//
// Who owns the state: one a session: which listeners of the target's were permitted, and its agent.

import {
  CHANNEL_OPEN_FAILURES,
  type ChannelOpen,
  type GlobalRequest,
} from "@custody/wire/ssh/requests.ts";
import type { Denial, Operation } from "../../access/operation.ts";
import { GatewayError } from "../../base/errors.ts";
import { canonicalHost, isPlainSocketPath, isPort } from "./destination.ts";
import type { ChannelEnd } from "./flow.ts";
import { type Permitted, unknown, type Verdict } from "./judge.ts";
import { destinationOperation } from "./operations.ts";
import type { ChannelHandler, RelayContext } from "./relay-context.ts";
import { joinChannels } from "./tunnel.ts";
import { plain } from "./wording.ts";

export interface ForwardingDeps {
  /** `mayLookUp`: names other than targets' are looked up. */
  readonly isOwnTarget: (host: string, port: number, mayLookUp: boolean) => Promise<boolean>;
  readonly openToClient: (open: ChannelOpen, handler: ChannelHandler) => ChannelEnd;
  /** Of the target. */
  readonly requestGlobal: (request: GlobalRequest, tag: unknown) => void;
}

type Handle = (handler: ChannelHandler) => void;
type Reply = (success: boolean, data?: Buffer) => void;
type ListenRequest = Extract<
  GlobalRequest,
  { kind: "tcpip-forward" | "streamlocal-forward@openssh.com" }
>;

/** What a listener of the target's was permitted as. */
interface Listening {
  readonly verdict: Permitted;
  readonly reply: Reply;
  readonly key: (port: number) => string;
}

const MAX_LISTENERS = 32;
const NEVER =
  "it is a target of this gateway, to be reached through its own door: ssh TARGET@GATEWAY, without -J or -W";
/** How a client says that the host may listen on all of its addresses. */
const EVERYWHERE: ReadonlySet<string> = new Set(["", "*"]);
/** Where PostgreSQL listens on its own host, by its port. */
const POSTGRES_SOCKET = /\/\.s\.PGSQL\.(\d{1,5})$/;

export class Forwarding {
  readonly #context: RelayContext;
  readonly #deps: ForwardingDeps;
  readonly #listeners = new Map<string, Permitted>();
  /** Asked of the target, which has not answered. */
  readonly #opening = new Set<Permitted>();
  /** The last name that was to be looked up. */
  #looking: Promise<unknown> = Promise.resolve();
  #isClosed = false;

  constructor(context: RelayContext, deps: ForwardingDeps) {
    this.#context = context;
    this.#deps = deps;
  }

  /** The session is over, and its listeners with it. */
  close(): void {
    this.#isClosed = true;
    for (const verdict of [...this.#listeners.values(), ...this.#opening])
      this.#over(verdict, "ended");
    this.#listeners.clear();
    this.#opening.clear();
  }

  /** A client opens a connection to somewhere behind the target. */
  onClientOpen(end: ChannelEnd, open: ChannelOpen, handle: Handle): void {
    const to = destinationOf(open);
    if (to === undefined) {
      refuse(end, "channels of this kind are not opened here");
      return;
    }
    this.#judgeLocal(to)
      .then((verdict) => {
        if (end.peer.isGone) return this.#skipped(verdict);
        if (verdict.verdict === "deny") return refuse(end, verdict.lines.slice(0, 2).join(";"));
        // Asked for as it was decided, in whatever spelling it came.
        const asked = open.kind === "direct-tcpip" ? { ...open, host: Buffer.from(to.host) } : open;
        const second = (handler: ChannelHandler) => this.#context.openUpstream(asked, handler);
        try {
          handle(this.#join(end, verdict, to, second));
        } catch (thrown) {
          this.#over(verdict, "failed");
          throw thrown;
        }
      })
      .catch((thrown) => {
        if (this.#isClosed) return;
        this.#context.log("a forwarded connection failed", thrown);
        refuse(end, "internal error");
      });
  }

  onClientRequest(request: GlobalRequest, reply: Reply): void {
    if (request.kind === "no-more-sessions@openssh.com") {
      reply(true);
      return;
    }
    if (
      request.kind === "cancel-tcpip-forward" ||
      request.kind === "cancel-streamlocal-forward@openssh.com"
    ) {
      const { host, port } = listenerOf(request);
      const key = `${host}:${port}`;
      const cancelled = this.#listeners.get(key);
      if (cancelled === undefined) {
        reply(false);
        return;
      }
      this.#listeners.delete(key);
      this.#over(cancelled, "ok");
      this.#deps.requestGlobal(request, { reply, key: undefined });
      return;
    }
    if (request.kind !== "tcpip-forward" && request.kind !== "streamlocal-forward@openssh.com") {
      reply(false);
      return;
    }
    this.#listen(request, reply).catch((thrown) => {
      this.#context.log("a remote forwarding failed", thrown);
      reply(false);
    });
  }

  onTargetReply(tag: unknown, success: boolean, data: Buffer): void {
    const listening = tag as Partial<Listening> & { readonly reply: Reply };
    if (listening.key !== undefined && listening.verdict !== undefined) {
      this.#opening.delete(listening.verdict);
      // RFC 4254 section 7.1: a port that the target chose is in its answer.
      const key = listening.key(data.length === 4 ? data.readUInt32BE(0) : 0);
      const before = success ? this.#listeners.get(key) : undefined;
      if (before !== undefined) this.#over(before, "ok");
      if (success) this.#listeners.set(key, listening.verdict);
      else this.#over(listening.verdict, "refused");
    }
    listening.reply(success, data);
  }

  /** The target opens a connection to the client: only where that was permitted. */
  onTargetOpen(end: ChannelEnd, open: ChannelOpen, handle: Handle): void {
    const to = comingFrom(open);
    const permitted = to === undefined ? undefined : this.#permitBack(open, to);
    if (permitted === undefined || to === undefined) {
      refuse(end, "nobody permitted it");
      return;
    }
    const second = (handler: ChannelHandler) => this.#deps.openToClient(open, handler);
    handle(this.#join(end, undefined, to, second, permitted));
  }

  #permitBack(open: ChannelOpen, { host, port }: Place): Permitted | undefined {
    const { backChannels } = this.#context;
    if (open.kind === "auth-agent@openssh.com") return backChannels.take("agent");
    if (open.kind === "x11") return backChannels.take("x11");
    return this.#listeners.get(`${host}:${port}`);
  }

  async #judgeLocal(to: Place): Promise<Verdict> {
    const { judge, site } = this.#context;
    const { host, port } = to;
    const wanted = destinationOperation(site, "forward_local", host, port);
    let operation: Operation | Denial = wanted;
    // Whoever may not go there has nothing looked up, and whoever may, one name at a time.
    const why = to.isReadable
      ? await this.#inTurn(() => this.#whyNever(to, judge.mayBe(wanted)))
      : "it is written in a way that is not taken";
    if (why !== undefined)
      operation = unknown(`forward_local on destination ${plain(host)}:${port}`, why);
    return judge.judge({
      ...{ operation, command: `forward ${host}:${port}`, bound: [host, port] },
      durability: "strict",
      tell: () => undefined,
    });
  }

  #inTurn<T>(look: () => Promise<T>): Promise<T> {
    const looked = this.#looking.then(() => {
      if (this.#isClosed) throw new GatewayError("revoked", "the session has ended");
      return look();
    });
    this.#looking = looked.catch(() => undefined);
    return looked;
  }

  async #whyNever({ host, port }: Place, mayLookUp: boolean): Promise<string | undefined> {
    const ofPostgres = port === 0 ? POSTGRES_SOCKET.exec(host)?.[1] : undefined;
    const isOwn =
      ofPostgres === undefined
        ? await this.#deps.isOwnTarget(host, port, mayLookUp)
        : await this.#deps.isOwnTarget("localhost", Number(ofPostgres), mayLookUp);
    return isOwn ? NEVER : undefined;
  }

  async #listen(request: ListenRequest, reply: Reply): Promise<void> {
    const { host, isReadable, port } = listenerOf(request);
    const { judge, site } = this.#context;
    const what = `forward_remote on destination ${plain(host)}:${port}`;
    const verdict = await judge.judge({
      operation: isReadable
        ? destinationOperation(site, "forward_remote", host, port)
        : unknown(what, "it is written in a way that is not taken"),
      ...{ command: `forward -R ${host}:${port}`, bound: ["remote", host, port] },
      durability: "strict",
      tell: () => undefined,
    });
    if (verdict.verdict === "deny") return reply(false);
    if (this.#isClosed) return this.#over(verdict, "skipped");
    if (this.#listeners.size + this.#opening.size >= MAX_LISTENERS) {
      this.#over(verdict, "limit");
      return reply(false);
    }
    // A socket's port is 0, and nothing is chosen for it.
    const key = (chosen: number) => `${host}:${port === 0 ? chosen : port}`;
    this.#opening.add(verdict);
    this.#deps.requestGlobal(request, { verdict, reply, key } satisfies Listening);
  }

  /** `verdict` undefined: part of what was permitted as a listener, which is not over with it. */
  #join(
    end: ChannelEnd,
    verdict: Permitted | undefined,
    to: Place,
    open: (handler: ChannelHandler) => ChannelEnd,
    about: Permitted | undefined = verdict,
  ): ChannelHandler {
    const { recorder } = this.#context;
    const { channel } = end;
    const request = about?.requestId ?? "";
    const argv = [to.host, String(to.port)];
    let outcome = "ok";
    return joinChannels(end, open, {
      recorder: {
        room: (done) => recorder.room(done),
        delivery: (done) => recorder.delivery(done),
      },
      onData: (stream, data) => recorder.data(request, channel, stream, data, about?.level),
      onOpened() {
        recorder.typed({ kind: "exec", request, channel, mode: "forward", argv });
        end.peer.connection.acceptChannel(channel);
        end.peer.touch();
      },
      onRefused(text) {
        outcome = "refused";
        refuse(end, `the target does not connect: ${plain(text)}`, "connectFailed");
      },
      onOver: () => {
        recorder.endData(request, channel);
        if (verdict !== undefined) this.#over(verdict, outcome);
      },
    });
  }

  #skipped(verdict: Verdict): void {
    if (verdict.verdict === "permit") this.#over(verdict, "skipped");
  }

  #over({ requestId }: Permitted, outcome: string): void {
    this.#context.judge.book.endCommand({ requestId, outcome });
  }
}

interface Place {
  readonly host: string;
  readonly port: number;
  /** It means to the host what it means here. */
  readonly isReadable: boolean;
}

/** A Unix socket is its path, port 0. undefined: it goes nowhere that is known. */
function destinationOf(open: ChannelOpen): Place | undefined {
  if (open.kind === "direct-streamlocal@openssh.com") {
    const path = open.path.toString("utf8");
    const isReadable = Buffer.from(path).equals(open.path) && isPlainSocketPath(path);
    return { host: path, port: 0, isReadable };
  }
  if (open.kind !== "direct-tcpip") return undefined;
  const { port } = open;
  const written = open.host.toString("latin1");
  const host = canonicalHost(written);
  return { host: host ?? written, port, isReadable: host !== undefined && isPort(port) };
}

/** Where the target is to listen. */
function listenerOf(request: Extract<GlobalRequest, { kind: `${string}forward${string}` }>): Place {
  if ("path" in request) {
    const path = request.path.toString("utf8");
    const isReadable = Buffer.from(path).equals(request.path) && isPlainSocketPath(path);
    return { host: path, port: 0, isReadable };
  }
  const { port } = request;
  const host = request.host.toString("utf8");
  const isHost = EVERYWHERE.has(host) || canonicalHost(host) === host;
  return { host, port, isReadable: isHost && (port === 0 || isPort(port)) };
}

/** Where a connection that the target opens came in there; undefined: that is nothing known. */
function comingFrom(open: ChannelOpen): Place | undefined {
  switch (open.kind) {
    case "forwarded-tcpip":
      return { host: open.host.toString("utf8"), port: open.port, isReadable: true };
    case "forwarded-streamlocal@openssh.com":
      return { host: open.path.toString("utf8"), port: 0, isReadable: true };
    case "auth-agent@openssh.com":
      return { host: "agent", port: 0, isReadable: true };
    case "x11":
      return { host: "x11", port: 0, isReadable: true };
    default:
      return undefined;
  }
}

function refuse(
  { channel, peer }: ChannelEnd,
  text: string,
  reason: keyof typeof CHANNEL_OPEN_FAILURES = "administrativelyProhibited",
): void {
  if (peer.isGone) return;
  peer.connection.refuseChannel(channel, CHANNEL_OPEN_FAILURES[reason], plain(text));
  peer.touch();
}
