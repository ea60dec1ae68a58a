// The SSH transport (RFC 4253) for either role, without I/O: versions, packets, key exchanges, and what
// goes beside them. Messages of the layers above come out of next() and go in at send(). State: the
// packet reader and writer, the exchange under way, and what waits for its end.
//
// Strict key exchange (OpenSSH's PROTOCOL 1.10) is always offered: with a peer that has it too nothing but
// the exchange's own messages is taken before the first NEWKEYS, and sequence numbers begin again.

import { randomBytes } from "node:crypto";
import { chosenAlgorithms, type OfferedHostKey, offeredHostKeys } from "./algorithms.ts";
import { ByteQueue } from "./byte-queue.ts";
import { signatureAlgorithmOf } from "./certificate.ts";
import { createOpener, createSealer } from "./ciphers.ts";
import { SshError } from "./errors.ts";
import type { TransportEvent } from "./events.ts";
import {
  byteField,
  nameField,
  nameListField,
  readMessage,
  stringField,
  textField,
  uint32Field,
} from "./fields.ts";
import {
  COOKIE_BYTES,
  EXT_INFO_CLIENT,
  encodeKexInit,
  type KexInit,
  STRICT_CLIENT,
  STRICT_SERVER,
} from "./kex-init.ts";
import { type ExchangeResult, KeyExchange } from "./key-exchange.ts";
import { DISCONNECT_REASONS, MSG } from "./numbers.ts";
import { SSH_LIMITS, type SshAlgorithms, type SshLimits, type SshOptions } from "./options.ts";
import { OutputQueue } from "./output-queue.ts";
import { PacketReader, PacketWriter } from "./packets.ts";
import { VersionReader, versionLine } from "./version.ts";

export class SshTransport {
  readonly limits: SshLimits;
  readonly algorithms: SshAlgorithms;
  readonly output = new OutputQueue();
  /** After the first key exchange. */
  sessionId: Buffer | undefined;
  /** The host key of the first key exchange. */
  hostKey: Buffer | undefined;
  /** server-sig-algs of the peer's, once it came. */
  serverSignatureAlgorithms: readonly string[] | undefined;

  readonly #options: SshOptions;
  readonly #input = new ByteQueue();
  readonly #reader: PacketReader;
  readonly #writer = new PacketWriter(this.output);
  readonly #hostKeys: readonly OfferedHostKey[];
  readonly #ownVersion: string;
  readonly #versionReader: VersionReader;
  #peerVersion: string | undefined;
  #exchange: KeyExchange | undefined;
  /** The keys are agreed and our NEWKEYS is sent; the peer's is awaited. */
  #result: ExchangeResult | undefined;
  /** Until the first exchange is done, the peer's NEWKEYS included. */
  #initial = true;
  #strict = false;
  #peerTakesExtInfo = false;
  /** Messages of the layers above that wait for the end of the exchange. */
  #waiting: Buffer[] = [];
  #waitingBytes = 0;
  #keyedAtMs: number;
  #ended = false;

  constructor(options: SshOptions) {
    this.#options = options;
    this.limits = { ...SSH_LIMITS, ...options.limits };
    this.algorithms = chosenAlgorithms(options.algorithms);
    this.#hostKeys =
      options.role === "server" ? offeredHostKeys(options.hostKeys, this.algorithms.hostKey) : [];
    this.#reader = new PacketReader(this.#input, this.limits.maxPacketBytes);
    const bannerBytes = options.role === "client" ? this.limits.maxBannerBytes : 0;
    this.#versionReader = new VersionReader(this.#input, bannerBytes);
    this.#keyedAtMs = options.nowMs();
    this.#ownVersion = versionLine(options.software);
    this.output.push(Buffer.from(`${this.#ownVersion}\r\n`, "latin1"));
  }

  push(chunk: Buffer): void {
    this.#input.push(chunk);
  }

  inputEnded(): void {
    this.#ended = true;
  }

  get inputBytes(): number {
    return this.#input.bytes;
  }

  /**
   * Messages of the layers above sent now would wait. It is so from our KEXINIT to our NEWKEYS, and
   * before the first exchange.
   */
  get blocked(): boolean {
    return (
      this.sessionId === undefined || (this.#exchange !== undefined && this.#result === undefined)
    );
  }

  /** The next message of a layer above, or event; undefined when more bytes are needed. @throws SshError */
  next(): Buffer | TransportEvent | undefined {
    if (this.#peerVersion === undefined) {
      this.#peerVersion = this.#versionReader.next();
      if (this.#peerVersion === undefined) return this.#nothing();
      this.#startExchange();
    }
    for (;;) {
      const payload = this.#reader.next();
      if (payload === undefined) return this.#nothing();
      const number = payload[0]!;
      this.#mayCome(number);
      // A peer that asks and asks, and never answers our KEXINIT.
      if (this.#waitingBytes > this.limits.maxHeldBytes + this.limits.maxPacketBytes) {
        throw new SshError("limit", "too much asked in a key exchange");
      }
      if (isAbove(number)) {
        this.#renewKeys();
        return payload;
      }
      const outcome = this.#receive(number, payload);
      if (outcome !== undefined) return outcome;
    }
  }

  /** Sends a message of a layer above, in order; the parts are copied unless they have to wait. */
  send(head: Buffer, tail?: Buffer): void {
    if (this.blocked) {
      const message = tail === undefined ? head : Buffer.concat([head, tail]);
      this.#waiting.push(message);
      this.#waitingBytes += message.length + WAITING_COST_BYTES;
      return;
    }
    this.#writer.write(head, tail);
    this.#renewKeys();
  }

  /** Answers a message with a number nobody knows (RFC 4253 section 11.4). */
  sendUnimplemented(): void {
    const sequence = uint32Field(this.#reader.lastSequence);
    this.send(Buffer.concat([byteField(MSG.unimplemented), sequence]));
  }

  /** The last thing sent. */
  sendDisconnect(reason: number, text: string): void {
    const shown = text.toWellFormed().slice(0, MAX_TEXT_CHARACTERS);
    const fields = [uint32Field(reason), textField(shown), textField("")];
    this.#writer.write(Buffer.concat([byteField(MSG.disconnect), ...fields]));
  }

  /** New keys. Nothing happens when that is under way already, or before the first. */
  rekey(): void {
    if (this.#exchange === undefined && this.sessionId !== undefined) this.#startExchange();
  }

  #nothing(): TransportEvent | undefined {
    if (this.#ended && this.#input.bytes > 0) {
      throw new SshError("truncated", "the connection ended inside a packet");
    }
    // Many peers leave without a word.
    if (this.#ended)
      return { kind: "disconnected", reason: DISCONNECT_REASONS.connectionLost, text: "" };
    this.#renewKeys();
    return undefined;
  }

  #renewKeys(): void {
    if (this.#exchange !== undefined || this.sessionId === undefined) return;
    const { rekeyBytes, rekeyMs } = this.limits;
    const packets = Math.max(this.#reader.keyedPackets, this.#writer.keyedPackets);
    const due =
      this.#reader.keyedBytes >= rekeyBytes ||
      this.#writer.keyedBytes >= rekeyBytes ||
      packets >= REKEY_PACKETS ||
      (packets > 0 && this.#options.nowMs() - this.#keyedAtMs >= rekeyMs);
    if (due) this.#startExchange();
  }

  #startExchange(): void {
    const own = this.#ownInit();
    const payload = encodeKexInit(own, randomBytes(COOKIE_BYTES));
    const versions = [this.#ownVersion, this.#peerVersion!] as const;
    const isClient = this.#options.role === "client";
    const parties = {
      role: this.#options.role,
      clientVersion: isClient ? versions[0] : versions[1],
      serverVersion: isClient ? versions[1] : versions[0],
      hostKeys: this.#hostKeys,
      hostKeyAccepted:
        this.#options.role === "client" ? this.#options.hostKeyAccepted : () => false,
    };
    this.#exchange = new KeyExchange(parties, own, payload);
    this.#writer.write(payload);
  }

  #ownInit(): KexInit {
    const { role } = this.#options;
    const { kex, hostKey, cipher, mac } = this.algorithms;
    const flags = role === "server" ? [STRICT_SERVER] : [EXT_INFO_CLIENT, STRICT_CLIENT];
    return {
      kex: this.sessionId === undefined ? [...kex, ...flags] : kex,
      hostKey: role === "server" ? this.#hostKeys.map((one) => one.algorithm) : hostKey,
      cipherToServer: cipher,
      cipherToClient: cipher,
      macToServer: mac,
      macToClient: mac,
      compressionToServer: ["none"],
      compressionToClient: ["none"],
      firstKexPacketFollows: false,
    };
  }

  /** A message of the transport's own. */
  #receive(number: number, payload: Buffer): TransportEvent | undefined {
    switch (number) {
      case MSG.disconnect:
        return disconnected(payload);
      case MSG.ignore:
      case MSG.unimplemented:
      case MSG.debug:
      case MSG.pong:
        return undefined;
      case MSG.extInfo:
        this.#receiveExtInfo(payload);
        return undefined;
      case MSG.kexInit:
        this.#receiveKexInit(payload);
        return undefined;
      case MSG.newKeys:
        return this.#receiveNewKeys(payload);
      case MSG.ping: {
        const reader = readMessage(payload, MSG.ping);
        const data = reader.string();
        reader.done();
        this.send(Buffer.concat([byteField(MSG.pong), stringField(data)]));
        return undefined;
      }
    }
    if (number >= MSG.kexMethodInit && number <= KEX_METHOD_LAST) {
      this.#receiveKexMethod(payload);
    } else {
      this.sendUnimplemented();
    }
    return undefined;
  }

  /** Refuses what may not come before the first keys, or in an exchange the peer has begun. */
  #mayCome(number: number): void {
    if (number === MSG.disconnect || (number >= MSG.kexInit && number <= KEX_METHOD_LAST)) return;
    if (!this.#initial && this.#exchange?.peerStarted !== true) return;
    const besides = number === MSG.ignore || number === MSG.unimplemented || number === MSG.debug;
    if (!besides || (this.#initial && this.#strict)) {
      throw new SshError("sequence", `message ${number} in a key exchange`);
    }
  }

  #receiveKexInit(payload: Buffer): void {
    if (this.#exchange === undefined) this.#startExchange();
    const exchange = this.#exchange!;
    const { peerInit, send } = exchange.start(payload);
    if (this.#initial) {
      const isServer = this.#options.role === "server";
      this.#strict = peerInit.kex.includes(isServer ? STRICT_CLIENT : STRICT_SERVER);
      this.#peerTakesExtInfo = isServer && peerInit.kex.includes(EXT_INFO_CLIENT);
      if (this.#strict && this.#reader.lastSequence !== 0) {
        throw new SshError("sequence", "a strict key exchange that does not begin with KEXINIT");
      }
    }
    if (send !== undefined) this.#writer.write(send);
  }

  #receiveKexMethod(payload: Buffer): void {
    if (this.#exchange === undefined || this.#result !== undefined) {
      throw new SshError("sequence", "a message of a key exchange outside of one");
    }
    const outcome = this.#exchange.receive(payload, this.sessionId);
    if (outcome === undefined) return;
    const { result, send } = outcome;
    const { toServer, toClient } = result.agreement;
    // Without strict key exchange packets can be cut away unseen under this cipher (CVE-2023-48795).
    if (!this.#strict && [toServer, toClient].some(({ cipher }) => cipher.name === CHACHA)) {
      throw new SshError("negotiation", `${CHACHA} without strict key exchange`);
    }
    if (send !== undefined) this.#writer.write(send);
    this.#writer.write(byteField(MSG.newKeys));
    const keys = this.#options.role === "server" ? result.toClient : result.toServer;
    this.#writer.useKeys(createSealer(keys), this.#strict);
    this.#result = result;
    if (this.sessionId === undefined) {
      this.sessionId = result.sessionId;
      this.hostKey = result.hostKey;
      if (this.#peerTakesExtInfo) this.#writer.write(this.#extInfo());
    }
    const waiting = this.#waiting;
    this.#waiting = [];
    this.#waitingBytes = 0;
    for (const message of waiting) this.#writer.write(message);
  }

  #receiveNewKeys(payload: Buffer): TransportEvent {
    const result = this.#result;
    if (result === undefined || payload.length !== 1) {
      throw new SshError("sequence", "NEWKEYS where there are none");
    }
    const isServer = this.#options.role === "server";
    this.#reader.useKeys(createOpener(isServer ? result.toServer : result.toClient), this.#strict);
    const first = this.#initial;
    this.#initial = false;
    this.#exchange = undefined;
    this.#result = undefined;
    this.#keyedAtMs = this.#options.nowMs();
    const { toServer, toClient } = result.agreement;
    const [sent, received] = isServer ? [toClient, toServer] : [toServer, toClient];
    return {
      kind: "keyed",
      first,
      negotiated: {
        peerVersion: this.#peerVersion!,
        kex: result.agreement.kex.name,
        hostKeyAlgorithm: result.agreement.hostKey,
        hostKey: result.hostKey,
        strict: this.#strict,
        sent: { cipher: sent.cipher.name, mac: sent.mac?.name ?? "" },
        received: { cipher: received.cipher.name, mac: received.mac?.name ?? "" },
      },
    };
  }

  // RFC 8308 section 3.1; OpenSSH's PROTOCOL 1.8 and 3.1 for the two others.
  #extInfo(): Buffer {
    // Clients look for what makes the signature, also for certificates.
    const signatures = [...new Set(this.algorithms.clientKey.map(signatureAlgorithmOf))];
    const extensions: readonly (readonly [string, Buffer])[] = [
      ["server-sig-algs", nameListField(signatures)],
      ["publickey-hostbound@openssh.com", textField("0")],
      ["ping@openssh.com", textField("0")],
    ];
    return Buffer.concat([
      byteField(MSG.extInfo),
      uint32Field(extensions.length),
      ...extensions.flatMap(([name, value]) => [nameField(name), value]),
    ]);
  }

  #receiveExtInfo(payload: Buffer): void {
    const reader = readMessage(payload, MSG.extInfo);
    const count = reader.uint32();
    if (count > MAX_EXTENSIONS) throw new SshError("limit", `${count} extensions`);
    for (let index = 0; index < count; index++) {
      const name = reader.string().toString("latin1");
      const value = reader.string();
      if (name !== "server-sig-algs" || this.#options.role !== "client") continue;
      // Lists of other servers' are read leniently: a name of theirs that is none is no name of ours.
      this.serverSignatureAlgorithms = value.toString("latin1").split(",");
    }
    reader.done();
  }
}

/** The number is one of the layers above. */
function isAbove(number: number): boolean {
  if (number === MSG.serviceRequest || number === MSG.serviceAccept) return true;
  return number >= MSG.userauthRequest && number < MSG.ping;
}

function disconnected(payload: Buffer): TransportEvent {
  const reader = readMessage(payload, MSG.disconnect);
  const reason = reader.uint32();
  // Some peers leave the texts out.
  const text = reader.left > 0 ? reader.shownText() : "";
  return { kind: "disconnected", reason, text };
}

const CHACHA = "chacha20-poly1305@openssh.com";
const KEX_METHOD_LAST = 49;
/** What a message that waits costs beside its bytes. */
const WAITING_COST_BYTES = 64;
const MAX_EXTENSIONS = 64;
const MAX_TEXT_CHARACTERS = 400;
/** RFC 4344 section 3.1 asks for new keys before 2^31 packets. */
const REKEY_PACKETS = 2 ** 30;
