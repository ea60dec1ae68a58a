// The connection protocol (RFC 4254) for either role: channels, their windows, requests and replies.
// State: every channel, what the peer waits for, what we wait for. Numbers of channels are not used
// twice. Data is handed on as it comes; the peer may send more only when the caller has consumed some,
// and what the caller sends is taken only as far as the peer's window goes: nothing is queued here.

import { SshError } from "./errors.ts";
import type { ConnectionEvent, ReplySlot } from "./events.ts";
import {
  booleanField,
  byteField,
  nameField,
  readMessage,
  type SshReader,
  textField,
  uint32Field,
} from "./fields.ts";
import { MSG } from "./numbers.ts";
import { ReplyOrder } from "./reply-order.ts";
import {
  channelOpenName,
  channelRequestName,
  decodeChannelOpen,
  decodeChannelRequest,
  decodeGlobalRequest,
  encodeChannelOpen,
  encodeChannelRequest,
  encodeGlobalRequest,
  globalRequestName,
} from "./request-codec.ts";
import {
  CHANNEL_OPEN_FAILURES,
  type ChannelOpen,
  type ChannelRequest,
  type GlobalRequest,
} from "./requests.ts";
import type { SshTransport } from "./transport.ts";

interface Channel {
  readonly id: number;
  /** "asked": by the peer, we have not answered; "opening": by us, it has not. */
  phase: "asked" | "opening" | "open";
  remoteId: number;
  /** What the peer lets us send, and in one packet. */
  sendWindow: number;
  maxSendBytes: number;
  /** What the peer may have sent and the caller not consumed, at most. */
  readonly windowBytes: number;
  /** What the peer may still send. */
  receiveWindow: number;
  unconsumed: number;
  /** Consumed, and the peer has not been told. */
  released: number;
  sentEof: boolean;
  sentClose: boolean;
  receivedEof: boolean;
  /** sendData() took less than it got. */
  starved: boolean;
  readonly replies: ReplyOrder;
  /** Tags of our requests without a reply. */
  readonly awaited: unknown[];
}

export class Channels {
  readonly #transport: SshTransport;
  readonly #channels = new Map<number, Channel>();
  readonly #replies: ReplyOrder;
  readonly #awaited: unknown[] = [];
  #nextId = 0;
  /** The sum of all channels' windows. */
  #promisedBytes = 0;

  constructor(transport: SshTransport) {
    this.#transport = transport;
    this.#replies = new ReplyOrder(transport.limits.maxUnanswered);
  }

  /** Takes a message of numbers 80 to 127. @throws SshError */
  receive(payload: Buffer): ConnectionEvent | undefined {
    switch (payload[0]) {
      case MSG.channelData:
        return this.#receiveData(payload, 0);
      case MSG.channelExtendedData:
        return this.#receiveData(payload, payload.length < 9 ? 0 : payload.readUInt32BE(5));
      case MSG.channelWindowAdjust:
        return this.#receiveWindowAdjust(readMessage(payload, MSG.channelWindowAdjust));
      case MSG.channelRequest:
        return this.#receiveRequest(readMessage(payload, MSG.channelRequest));
      case MSG.channelSuccess:
      case MSG.channelFailure:
        return this.#receiveReply(payload);
      case MSG.channelEof:
        return this.#receiveEof(readMessage(payload, MSG.channelEof));
      case MSG.channelClose:
        return this.#receiveClose(readMessage(payload, MSG.channelClose));
      case MSG.channelOpen:
        return this.#receiveOpen(readMessage(payload, MSG.channelOpen));
      case MSG.channelOpenConfirmation:
        return this.#receiveConfirmation(readMessage(payload, MSG.channelOpenConfirmation));
      case MSG.channelOpenFailure:
        return this.#receiveFailure(readMessage(payload, MSG.channelOpenFailure));
      case MSG.globalRequest:
        return this.#receiveGlobal(readMessage(payload, MSG.globalRequest));
      case MSG.requestSuccess:
      case MSG.requestFailure:
        return this.#receiveGlobalReply(payload);
      default:
        this.#transport.sendUnimplemented();
        return undefined;
    }
  }

  /** The channels that may send again after a key exchange. */
  unblocked(): ConnectionEvent[] {
    const events: ConnectionEvent[] = [];
    for (const channel of this.#channels.values()) {
      if (!channel.starved || channel.sendWindow === 0 || channel.sentClose) continue;
      channel.starved = false;
      events.push({ kind: "channel-writable", channel: channel.id });
    }
    return events;
  }

  requestGlobal(request: GlobalRequest, tag: unknown): void {
    if (tag !== undefined) this.#awaited.push(tag);
    this.#send(
      MSG.globalRequest,
      nameField(globalRequestName(request)),
      booleanField(tag !== undefined),
      encodeGlobalRequest(request),
    );
  }

  replyGlobal(slot: ReplySlot, success: boolean, data: Buffer): void {
    const reply = success
      ? Buffer.concat([byteField(MSG.requestSuccess), data])
      : byteField(MSG.requestFailure);
    for (const ready of this.#replies.fill(slot, reply)) this.#transport.send(ready);
  }

  /** @throws SshError "limit" */
  openChannel(open: ChannelOpen): number {
    if (this.#channels.size >= this.#transport.limits.maxChannels) {
      throw new SshError("limit", "too many channels");
    }
    const channel = this.#add("opening");
    this.#send(
      MSG.channelOpen,
      nameField(channelOpenName(open)),
      uint32Field(channel.id),
      uint32Field(channel.receiveWindow),
      uint32Field(this.#transport.limits.maxDataBytes),
      encodeChannelOpen(open),
    );
    return channel.id;
  }

  acceptChannel(id: number): void {
    const channel = this.#asked(id);
    channel.phase = "open";
    this.#send(
      MSG.channelOpenConfirmation,
      uint32Field(channel.remoteId),
      uint32Field(channel.id),
      uint32Field(channel.receiveWindow),
      uint32Field(this.#transport.limits.maxDataBytes),
    );
  }

  refuseChannel(id: number, reason: number, text: string): void {
    const channel = this.#asked(id);
    this.#remove(channel);
    this.#refuse(channel.remoteId, reason, text);
  }

  sendableBytes(id: number): number {
    const channel = this.#open(id);
    return channel === undefined || this.#transport.blocked ? 0 : channel.sendWindow;
  }

  unconsumedBytes(id: number): number {
    return this.#channels.get(id)?.unconsumed ?? 0;
  }

  sendData(id: number, data: Buffer, stream: number): number {
    const channel = this.#open(id);
    if (channel === undefined) return 0;
    if (channel.sentEof) throw new SshError("state", "data behind the end of a channel's");
    const transport = this.#transport;
    const most = Math.min(channel.maxSendBytes, transport.limits.maxDataBytes);
    let taken = 0;
    while (taken < data.length && channel.sendWindow > 0 && !transport.blocked) {
      const size = Math.min(data.length - taken, channel.sendWindow, most);
      const head = Buffer.allocUnsafe(stream === 0 ? 9 : 13);
      head[0] = stream === 0 ? MSG.channelData : MSG.channelExtendedData;
      head.writeUInt32BE(channel.remoteId, 1);
      if (stream !== 0) head.writeUInt32BE(stream, 5);
      head.writeUInt32BE(size, head.length - 4);
      transport.send(head, data.subarray(taken, taken + size));
      channel.sendWindow -= size;
      taken += size;
    }
    if (taken < data.length) channel.starved = true;
    return taken;
  }

  consumed(id: number, bytes: number): void {
    const channel = this.#channels.get(id);
    if (channel === undefined) return;
    if (bytes > channel.unconsumed) throw new SshError("state", "more consumed than came");
    channel.unconsumed -= bytes;
    channel.released += bytes;
    // Seldom enough to cost nothing, often enough that the peer never waits for a reader who reads.
    const due = channel.released >= channel.windowBytes / WINDOW_PARTS;
    if (!due || channel.receivedEof || channel.sentClose) return;
    this.#send(
      MSG.channelWindowAdjust,
      uint32Field(channel.remoteId),
      uint32Field(channel.released),
    );
    channel.receiveWindow += channel.released;
    channel.released = 0;
  }

  requestChannel(id: number, request: ChannelRequest, tag: unknown): void {
    const channel = this.#open(id);
    if (channel === undefined) return;
    if (tag !== undefined) channel.awaited.push(tag);
    this.#send(
      MSG.channelRequest,
      uint32Field(channel.remoteId),
      nameField(channelRequestName(request)),
      booleanField(tag !== undefined),
      encodeChannelRequest(request),
    );
  }

  replyChannel(id: number, slot: ReplySlot, success: boolean): void {
    const channel = this.#open(id);
    if (channel === undefined) return;
    const number = success ? MSG.channelSuccess : MSG.channelFailure;
    const reply = Buffer.concat([byteField(number), uint32Field(channel.remoteId)]);
    for (const ready of channel.replies.fill(slot, reply)) this.#transport.send(ready);
  }

  sendEof(id: number): void {
    const channel = this.#open(id);
    if (channel === undefined || channel.sentEof) return;
    channel.sentEof = true;
    this.#send(MSG.channelEof, uint32Field(channel.remoteId));
  }

  closeChannel(id: number): void {
    const channel = this.#channels.get(id);
    if (channel === undefined || channel.sentClose) return;
    if (channel.phase === "asked") throw new SshError("state", "the channel is not answered yet");
    channel.sentClose = true;
    if (channel.phase === "open") this.#send(MSG.channelClose, uint32Field(channel.remoteId));
  }

  #add(phase: Channel["phase"]): Channel {
    const windowBytes = this.#nextWindow();
    this.#promisedBytes += windowBytes;
    const channel: Channel = {
      id: this.#nextId++,
      phase,
      remoteId: 0,
      sendWindow: 0,
      maxSendBytes: 0,
      windowBytes,
      receiveWindow: windowBytes,
      unconsumed: 0,
      released: 0,
      sentEof: false,
      sentClose: false,
      receivedEof: false,
      starved: false,
      replies: new ReplyOrder(this.#transport.limits.maxUnanswered),
      awaited: [],
    };
    this.#channels.set(channel.id, channel);
    return channel;
  }

  /** The more is promised already, the less: all windows together stay near the budget. */
  #nextWindow(): number {
    const { windowBytes, windowBudgetBytes } = this.#transport.limits;
    const share = Math.floor((windowBudgetBytes - this.#promisedBytes) / WINDOW_PARTS);
    return Math.min(windowBytes, Math.max(MIN_WINDOW_BYTES, share));
  }

  #remove(channel: Channel): void {
    this.#channels.delete(channel.id);
    this.#promisedBytes -= channel.windowBytes;
  }

  /** A channel that something can be sent on; undefined when it is closed by now. */
  #open(id: number): Channel | undefined {
    const channel = this.#channels.get(id);
    if (channel === undefined || channel.sentClose) return undefined;
    if (channel.phase !== "open") throw new SshError("state", "the channel is not open yet");
    return channel;
  }

  #asked(id: number): Channel {
    const channel = this.#channels.get(id);
    if (channel?.phase !== "asked") throw new SshError("state", "nobody asks for that channel");
    return channel;
  }

  /** The channel the peer's message is about. */
  #ofPeer(id: number): Channel {
    const channel = this.#channels.get(id);
    if (channel?.phase !== "open") {
      throw new SshError("sequence", "a message for a channel that is not open");
    }
    return channel;
  }

  #send(number: number, ...fields: Buffer[]): void {
    this.#transport.send(Buffer.concat([byteField(number), ...fields]));
  }

  #refuse(remoteId: number, reason: number, text: string): void {
    this.#send(
      MSG.channelOpenFailure,
      uint32Field(remoteId),
      uint32Field(reason),
      textField(text),
      textField(""),
    );
  }

  #receiveData(payload: Buffer, stream: number): ConnectionEvent | undefined {
    const from = payload[0] === MSG.channelData ? 9 : 13;
    if (payload.length < from) throw new SshError("truncated", "data without its fields");
    const size = payload.readUInt32BE(from - 4);
    if (size !== payload.length - from) {
      const code = size > payload.length - from ? "truncated" : "trailing";
      throw new SshError(code, "data of another length than it says");
    }
    const channel = this.#ofPeer(payload.readUInt32BE(1));
    if (channel.receivedEof) throw new SshError("sequence", "data behind the end of a channel's");
    if (size > channel.receiveWindow || size > this.#transport.limits.maxDataBytes) {
      throw new SshError("limit", "more data than the window or a packet holds");
    }
    if (from === 13 && stream === 0) throw new SshError("syntax", "extended data of type 0");
    channel.receiveWindow -= size;
    if (channel.sentClose || size === 0) return undefined;
    channel.unconsumed += size;
    return { kind: "channel-data", channel: channel.id, stream, data: payload.subarray(from) };
  }

  #receiveWindowAdjust(reader: SshReader): ConnectionEvent | undefined {
    const channel = this.#ofPeer(reader.uint32());
    const window = channel.sendWindow + reader.uint32();
    reader.done();
    if (window > MAX_WINDOW_BYTES) throw new SshError("limit", "a window of more than 32 bits");
    channel.sendWindow = window;
    if (!channel.starved || window === 0 || this.#transport.blocked) return undefined;
    channel.starved = false;
    return channel.sentClose ? undefined : { kind: "channel-writable", channel: channel.id };
  }

  #receiveRequest(reader: SshReader): ConnectionEvent | undefined {
    const channel = this.#ofPeer(reader.uint32());
    const name = reader.name();
    const wantReply = reader.boolean();
    const request = decodeChannelRequest(name, reader);
    if (channel.sentClose) return undefined;
    const reply = wantReply ? channel.replies.open() : undefined;
    if (request.kind === "keepalive@openssh.com") {
      // OpenSSH answers so too: what counts is that there is an answer.
      if (reply !== undefined) this.replyChannel(channel.id, reply, false);
      return undefined;
    }
    return { kind: "channel-request", channel: channel.id, request, reply };
  }

  #receiveReply(payload: Buffer): ConnectionEvent | undefined {
    const reader = readMessage(payload, payload[0]!);
    const channel = this.#ofPeer(reader.uint32());
    reader.done();
    if (channel.awaited.length === 0) throw new SshError("sequence", "a reply to no request");
    const tag = channel.awaited.shift();
    if (channel.sentClose) return undefined;
    const success = payload[0] === MSG.channelSuccess;
    return { kind: "channel-reply", channel: channel.id, tag, success };
  }

  #receiveEof(reader: SshReader): ConnectionEvent | undefined {
    const channel = this.#ofPeer(reader.uint32());
    reader.done();
    if (channel.receivedEof) throw new SshError("sequence", "a second end of a channel's data");
    channel.receivedEof = true;
    return channel.sentClose ? undefined : { kind: "channel-eof", channel: channel.id };
  }

  #receiveClose(reader: SshReader): ConnectionEvent {
    const channel = this.#ofPeer(reader.uint32());
    reader.done();
    if (!channel.sentClose) this.#send(MSG.channelClose, uint32Field(channel.remoteId));
    this.#remove(channel);
    return { kind: "channel-closed", channel: channel.id };
  }

  #receiveOpen(reader: SshReader): ConnectionEvent | undefined {
    const name = reader.name();
    const remoteId = reader.uint32();
    const sendWindow = reader.uint32();
    const maxSendBytes = reader.uint32();
    const open = decodeChannelOpen(name, reader);
    if (maxSendBytes < MIN_PACKET_DATA_BYTES)
      throw new SshError("limit", "a channel without room for data");
    if (this.#channels.size >= this.#transport.limits.maxChannels) {
      this.#refuse(remoteId, CHANNEL_OPEN_FAILURES.resourceShortage, "too many channels");
      return undefined;
    }
    const channel = this.#add("asked");
    channel.remoteId = remoteId;
    channel.sendWindow = sendWindow;
    channel.maxSendBytes = maxSendBytes;
    return { kind: "channel-open", channel: channel.id, open };
  }

  #opening(id: number): Channel {
    const channel = this.#channels.get(id);
    if (channel?.phase !== "opening") throw new SshError("sequence", "an answer to no open");
    return channel;
  }

  #receiveConfirmation(reader: SshReader): ConnectionEvent | undefined {
    const channel = this.#opening(reader.uint32());
    channel.remoteId = reader.uint32();
    channel.sendWindow = reader.uint32();
    channel.maxSendBytes = reader.uint32();
    reader.rest(); // Of the channel's type; none of ours has any.
    if (channel.maxSendBytes < MIN_PACKET_DATA_BYTES)
      throw new SshError("limit", "a channel without room for data");
    channel.phase = "open";
    if (channel.sentClose) {
      this.#send(MSG.channelClose, uint32Field(channel.remoteId));
      return undefined;
    }
    return { kind: "channel-opened", channel: channel.id };
  }

  #receiveFailure(reader: SshReader): ConnectionEvent {
    const channel = this.#opening(reader.uint32());
    const reason = reader.uint32();
    // Some servers leave the texts out.
    const text = reader.left > 0 ? reader.shownText() : "";
    this.#remove(channel);
    if (channel.sentClose) return { kind: "channel-closed", channel: channel.id };
    return { kind: "channel-refused", channel: channel.id, reason, text };
  }

  #receiveGlobal(reader: SshReader): ConnectionEvent | undefined {
    const name = reader.name();
    const wantReply = reader.boolean();
    const request = decodeGlobalRequest(name, reader);
    const reply = wantReply ? this.#replies.open() : undefined;
    if (request.kind === "keepalive@openssh.com") {
      if (reply !== undefined) this.replyGlobal(reply, false, Buffer.alloc(0));
      return undefined;
    }
    return { kind: "global-request", request, reply };
  }

  #receiveGlobalReply(payload: Buffer): ConnectionEvent {
    if (this.#awaited.length === 0) throw new SshError("sequence", "a reply to no request");
    const tag = this.#awaited.shift();
    const success = payload[0] === MSG.requestSuccess;
    return { kind: "global-reply", tag, success, data: payload.subarray(1) };
  }
}

const MAX_WINDOW_BYTES = 0xffffffff;
/**
 * The peer is told of consumed bytes when they are this part of the window; a window is at most this part
 * of what is left of the budget.
 */
const WINDOW_PARTS = 8;
/**
 * Whoever takes less in one packet wants a packet for every few bytes, each as dear as one of 32 KiB. Real
 * clients and hosts take thousands.
 */
const MIN_PACKET_DATA_BYTES = 256;
/** Two of the largest packets. */
const MIN_WINDOW_BYTES = 64 * 1024;
