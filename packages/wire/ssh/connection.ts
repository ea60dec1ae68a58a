// One SSH connection in either role, without I/O: bytes in at receive(), events out of next(), bytes out
// of takeOutput(). It puts the transport, authentication and channels together and decides which of them
// a message is for; each layer's state is its own. RFC 4251 to 4254.
//
// The caller: receive() what came, next() until undefined, write takeOutput(); the same after every
// answer it gives. Input is decoded only when next() asks, so an answer to an authentication attempt is
// given before what follows it is looked at. A fault of the peer's is the last event, never thrown; a
// call of the caller's out of turn throws SshError "state".

import { ClientAuth } from "./auth-client.ts";
import { ServerAuth } from "./auth-server.ts";
import { Channels } from "./channels.ts";
import { SshError } from "./errors.ts";
import type { KeyboardPrompts, ReplySlot, SshEvent } from "./events.ts";
import { MSG, REASON_OF_ERROR } from "./numbers.ts";
import type { SshOptions } from "./options.ts";
import type { ChannelOpen, ChannelRequest, GlobalRequest } from "./requests.ts";
import { SshTransport } from "./transport.ts";

export class SshConnection {
  readonly #transport: SshTransport;
  readonly #server: ServerAuth | undefined;
  readonly #client: ClientAuth | undefined;
  readonly #channels: Channels;
  /** Events that follow from one already given. */
  #ready: SshEvent[] = [];
  #over = false;

  /** @throws SshError "syntax" or "key" for options that cannot be */
  constructor(options: SshOptions) {
    this.#transport = new SshTransport(options);
    this.#channels = new Channels(this.#transport);
    if (options.role === "server") this.#server = new ServerAuth(this.#transport);
    else this.#client = new ClientAuth(this.#transport, options.user);
  }

  /** Takes the chunk over; next() decodes it. */
  receive(chunk: Buffer): void {
    if (!this.#over) this.#transport.push(chunk);
  }

  /** The peer sends nothing more; next() fails once it has used up what came. */
  inputEnded(): void {
    this.#transport.inputEnded();
  }

  next(): SshEvent | undefined {
    if (this.#over) return undefined;
    const ready = this.#ready.shift();
    if (ready !== undefined) return ready;
    try {
      return this.#decode();
    } catch (error) {
      if (!(error instanceof SshError)) throw error;
      this.disconnect(REASON_OF_ERROR[error.code], error.message);
      return { kind: "failed", error };
    }
  }

  /** To be written in this order. */
  takeOutput(): Buffer[] {
    return this.#transport.output.take();
  }

  get outputBytes(): number {
    return this.#transport.output.bytes;
  }

  get state(): "exchange" | "authentication" | "open" | "over" {
    if (this.#over) return "over";
    if (this.#transport.sessionId === undefined) return "exchange";
    return this.#user === undefined ? "authentication" : "open";
  }

  /** @throws SshError "state" before the first key exchange is done */
  get sessionId(): Buffer {
    const { sessionId } = this.#transport;
    if (sessionId === undefined) throw new SshError("state", "there is no session yet");
    return sessionId;
  }

  /** New keys now; by itself after limits.rekeyBytes and rekeyMs. */
  rekey(): void {
    this.#inState("open");
    this.#transport.rekey();
  }

  /** The last thing sent; no event comes after. */
  disconnect(reason: number, text: string): void {
    if (this.#over) return;
    this.#over = true;
    this.#transport.sendDisconnect(reason, text);
  }

  acceptAuth(): void {
    const auth = this.#serverAuth();
    auth.accept();
    this.#ready.push({ kind: "authenticated", user: auth.accepted! });
  }

  /** `methods` may go on; with partialSuccess the attempt was good, and more is needed. */
  rejectAuth(methods: readonly string[], partialSuccess = false): void {
    this.#serverAuth().reject(methods, partialSuccess);
  }

  /** The key of a "publickey-query" would do. */
  acceptKey(): void {
    this.#serverAuth().acceptKey();
  }

  askKeyboard(prompts: KeyboardPrompts): void {
    this.#serverAuth().ask(prompts);
  }

  sendBanner(text: string): void {
    this.#serverAuth().sendBanner(text);
  }

  authenticateNone(): void {
    this.#clientAuth().tryNone();
  }

  authenticatePassword(password: Buffer): void {
    this.#clientAuth().tryPassword(password);
  }

  authenticateKeyboard(submethods = ""): void {
    this.#clientAuth().tryKeyboard(submethods);
  }

  answerPrompts(answers: readonly Buffer[]): void {
    this.#clientAuth().answer(answers);
  }

  /** Asks whether a key or certificate would do; clientKeyAlgorithm() says which algorithm. */
  queryKey(algorithm: string, key: Buffer): void {
    this.#clientAuth().query(algorithm, key);
  }

  /** What authenticateKey()'s signature covers. */
  signedPart(algorithm: string, key: Buffer): Buffer {
    return this.#clientAuth().signedPart(algorithm, key);
  }

  authenticateKey(algorithm: string, key: Buffer, signature: Buffer): void {
    this.#clientAuth().tryKey(algorithm, key, signature);
  }

  /** What the server said it takes from our keys; undefined when it said nothing. */
  get serverSignatureAlgorithms(): readonly string[] | undefined {
    return this.#transport.serverSignatureAlgorithms;
  }

  /** With a tag a reply is wanted, and comes as "global-reply" with it. */
  requestGlobal(request: GlobalRequest, tag?: unknown): void {
    if (this.#usable()) this.#channels.requestGlobal(request, tag);
  }

  replyGlobal(slot: ReplySlot, success: boolean, data: Buffer = EMPTY): void {
    if (this.#usable()) this.#channels.replyGlobal(slot, success, data);
  }

  /** "channel-opened" or "channel-refused" says how it went. @throws SshError "limit" */
  openChannel(open: ChannelOpen): number {
    this.#inState("open");
    return this.#channels.openChannel(open);
  }

  acceptChannel(channel: number): void {
    if (this.#usable()) this.#channels.acceptChannel(channel);
  }

  refuseChannel(channel: number, reason: number, text: string): void {
    if (this.#usable()) this.#channels.refuseChannel(channel, reason, text);
  }

  /**
   * Sends as much as the peer's window takes; returns how much. When it is less than all,
   * "channel-writable" comes once there is room. `stream` is 0, or STDERR. The bytes are copied.
   */
  sendData(channel: number, data: Buffer, stream = 0): number {
    return this.#usable() ? this.#channels.sendData(channel, data, stream) : 0;
  }

  /** What sendData() would take now. */
  sendableBytes(channel: number): number {
    return this.#usable() ? this.#channels.sendableBytes(channel) : 0;
  }

  /** Bytes of "channel-data" that are dealt with: the peer may send as many again. */
  consumed(channel: number, bytes: number): void {
    if (this.#usable()) this.#channels.consumed(channel, bytes);
  }

  unconsumedBytes(channel: number): number {
    return this.#channels.unconsumedBytes(channel);
  }

  /** With a tag a reply is wanted, and comes as "channel-reply" with it. */
  requestChannel(channel: number, request: ChannelRequest, tag?: unknown): void {
    if (this.#usable()) this.#channels.requestChannel(channel, request, tag);
  }

  replyChannel(channel: number, slot: ReplySlot, success: boolean): void {
    if (this.#usable()) this.#channels.replyChannel(channel, slot, success);
  }

  sendEof(channel: number): void {
    if (this.#usable()) this.#channels.sendEof(channel);
  }

  /** Data that still comes is dropped; "channel-closed" comes when the peer has closed it too. */
  closeChannel(channel: number): void {
    if (this.#usable()) this.#channels.closeChannel(channel);
  }

  #decode(): SshEvent | undefined {
    for (;;) {
      if (this.#server?.waiting === true) {
        if (this.#transport.inputBytes > this.#transport.limits.maxHeldBytes) {
          throw new SshError("limit", "too much input before an authentication answer");
        }
        return undefined;
      }
      const outcome = this.#transport.next();
      if (outcome === undefined) return undefined;
      if (!Buffer.isBuffer(outcome)) {
        if (outcome.kind === "disconnected") this.#over = true;
        if (outcome.kind === "keyed" && outcome.first) this.#client?.begin();
        if (outcome.kind === "keyed") this.#ready.push(...this.#channels.unblocked());
        return outcome;
      }
      const event = this.#dispatch(outcome);
      if (event !== undefined) return event;
    }
  }

  #dispatch(payload: Buffer): SshEvent | undefined {
    const number = payload[0]!;
    const auth = this.#server ?? this.#client!;
    if (number < MSG.globalRequest) {
      if (auth.accepted === undefined || number === MSG.userauthRequest)
        return auth.receive(payload);
    } else if (auth.accepted !== undefined) {
      return this.#channels.receive(payload);
    }
    throw new SshError("sequence", `message ${number} may not come now`);
  }

  get #user(): string | undefined {
    return (this.#server ?? this.#client!).accepted;
  }

  #serverAuth(): ServerAuth {
    if (this.#server === undefined) throw new SshError("state", "this is not a server's call");
    this.#inState("authentication");
    return this.#server;
  }

  #clientAuth(): ClientAuth {
    if (this.#client === undefined) throw new SshError("state", "this is not a client's call");
    this.#inState("authentication");
    return this.#client;
  }

  /** Whether there is anybody to send to; what comes too late is no fault of the caller's. */
  #usable(): boolean {
    if (this.#over) return false;
    this.#inState("open");
    return true;
  }

  #inState(state: "authentication" | "open"): void {
    if (this.state !== state) throw new SshError("state", `not in the state "${state}"`);
  }
}

const EMPTY = Buffer.alloc(0);
