// Encoding and decoding of the typed requests of requests.ts (RFC 4254 sections 4, 5.1 and 6; OpenSSH's
// PROTOCOL section 2). A known request that is not written as specified is a fault of the peer's; an
// unknown one is "other". What is decoded encodes to the same bytes again.

import {
  booleanField,
  nameField,
  type SshReader,
  stringField,
  textField,
  uint32Field,
} from "./fields.ts";
import type { ChannelOpen, ChannelRequest, GlobalRequest, TerminalSize } from "./requests.ts";

/** @param reader behind want_reply */
export function decodeChannelRequest(name: string, reader: SshReader): ChannelRequest {
  const request = channelRequest(name, reader);
  reader.done();
  return request;
}

function channelRequest(name: string, reader: SshReader): ChannelRequest {
  switch (name) {
    case "pty-req":
      return {
        kind: name,
        term: reader.string(),
        size: decodeSize(reader),
        modes: reader.string(),
      };
    case "env":
      return { kind: name, name: reader.string(), value: reader.string() };
    case "exec":
      return { kind: name, command: reader.string() };
    case "subsystem":
      return { kind: name, name: reader.string() };
    case "window-change":
      return { kind: name, size: decodeSize(reader) };
    case "xon-xoff":
      return { kind: name, clientCanDo: reader.boolean() };
    case "signal":
      return { kind: name, signal: reader.name() };
    case "exit-status":
      return { kind: name, status: reader.uint32() };
    case "exit-signal":
      return {
        kind: name,
        signal: reader.name(),
        coreDumped: reader.boolean(),
        message: reader.string(),
        language: reader.string(),
      };
    case "break":
      return { kind: name, lengthMs: reader.uint32() };
    case "x11-req":
      return {
        kind: name,
        singleConnection: reader.boolean(),
        protocol: reader.string(),
        cookie: reader.string(),
        screen: reader.uint32(),
      };
    case "shell":
    case "auth-agent-req@openssh.com":
    case "eow@openssh.com":
    case "keepalive@openssh.com":
      return { kind: name };
    default:
      return { kind: "other", name, data: reader.rest() };
  }
}

export function channelRequestName(request: ChannelRequest): string {
  return request.kind === "other" ? request.name : request.kind;
}

/** What follows want_reply. */
export function encodeChannelRequest(request: ChannelRequest): Buffer {
  switch (request.kind) {
    case "pty-req":
      return Buffer.concat([
        stringField(request.term),
        encodeSize(request.size),
        stringField(request.modes),
      ]);
    case "env":
      return Buffer.concat([stringField(request.name), stringField(request.value)]);
    case "exec":
      return stringField(request.command);
    case "subsystem":
      return stringField(request.name);
    case "window-change":
      return encodeSize(request.size);
    case "xon-xoff":
      return booleanField(request.clientCanDo);
    case "signal":
      return nameField(request.signal);
    case "exit-status":
      return uint32Field(request.status);
    case "exit-signal":
      return Buffer.concat([
        nameField(request.signal),
        booleanField(request.coreDumped),
        stringField(request.message),
        stringField(request.language),
      ]);
    case "break":
      return uint32Field(request.lengthMs);
    case "x11-req":
      return Buffer.concat([
        booleanField(request.singleConnection),
        stringField(request.protocol),
        stringField(request.cookie),
        uint32Field(request.screen),
      ]);
    case "other":
      return request.data;
    default:
      return EMPTY;
  }
}

/** @param reader behind the channel's maximum packet size */
export function decodeChannelOpen(name: string, reader: SshReader): ChannelOpen {
  const open = channelOpen(name, reader);
  reader.done();
  return open;
}

function channelOpen(name: string, reader: SshReader): ChannelOpen {
  switch (name) {
    case "direct-tcpip":
    case "forwarded-tcpip":
      return {
        kind: name,
        host: reader.string(),
        port: reader.uint32(),
        originHost: reader.string(),
        originPort: reader.uint32(),
      };
    case "x11":
      return { kind: name, originHost: reader.string(), originPort: reader.uint32() };
    case "direct-streamlocal@openssh.com": {
      const path = reader.string();
      // Reserved: a string and a number.
      reader.string();
      reader.uint32();
      return { kind: name, path };
    }
    case "forwarded-streamlocal@openssh.com": {
      const path = reader.string();
      reader.string();
      return { kind: name, path };
    }
    case "session":
    case "auth-agent@openssh.com":
      return { kind: name };
    default:
      return { kind: "other", name, data: reader.rest() };
  }
}

export function channelOpenName(open: ChannelOpen): string {
  return open.kind === "other" ? open.name : open.kind;
}

export function encodeChannelOpen(open: ChannelOpen): Buffer {
  switch (open.kind) {
    case "direct-tcpip":
    case "forwarded-tcpip":
      return Buffer.concat([
        stringField(open.host),
        uint32Field(open.port),
        stringField(open.originHost),
        uint32Field(open.originPort),
      ]);
    case "x11":
      return Buffer.concat([stringField(open.originHost), uint32Field(open.originPort)]);
    case "direct-streamlocal@openssh.com":
      return Buffer.concat([stringField(open.path), textField(""), uint32Field(0)]);
    case "forwarded-streamlocal@openssh.com":
      return Buffer.concat([stringField(open.path), textField("")]);
    case "other":
      return open.data;
    default:
      return EMPTY;
  }
}

/** @param reader behind want_reply */
export function decodeGlobalRequest(name: string, reader: SshReader): GlobalRequest {
  const request = globalRequest(name, reader);
  reader.done();
  return request;
}

function globalRequest(name: string, reader: SshReader): GlobalRequest {
  switch (name) {
    case "tcpip-forward":
    case "cancel-tcpip-forward":
      return { kind: name, host: reader.string(), port: reader.uint32() };
    case "streamlocal-forward@openssh.com":
    case "cancel-streamlocal-forward@openssh.com":
      return { kind: name, path: reader.string() };
    case "hostkeys-00@openssh.com":
    case "hostkeys-prove-00@openssh.com": {
      const keys: Buffer[] = [];
      while (reader.left > 0) keys.push(reader.string());
      return { kind: name, keys };
    }
    case "no-more-sessions@openssh.com":
    case "keepalive@openssh.com":
      // OpenSSH reads neither further; other servers and clients put a text in.
      reader.rest();
      return { kind: name };
    default:
      return { kind: "other", name, data: reader.rest() };
  }
}

export function globalRequestName(request: GlobalRequest): string {
  return request.kind === "other" ? request.name : request.kind;
}

export function encodeGlobalRequest(request: GlobalRequest): Buffer {
  switch (request.kind) {
    case "tcpip-forward":
    case "cancel-tcpip-forward":
      return Buffer.concat([stringField(request.host), uint32Field(request.port)]);
    case "streamlocal-forward@openssh.com":
    case "cancel-streamlocal-forward@openssh.com":
      return stringField(request.path);
    case "hostkeys-00@openssh.com":
    case "hostkeys-prove-00@openssh.com":
      return Buffer.concat(request.keys.map((key) => stringField(key)));
    case "other":
      return request.data;
    default:
      return EMPTY;
  }
}

function decodeSize(reader: SshReader): TerminalSize {
  return {
    columns: reader.uint32(),
    rows: reader.uint32(),
    widthPixels: reader.uint32(),
    heightPixels: reader.uint32(),
  };
}

function encodeSize(size: TerminalSize): Buffer {
  return Buffer.concat([
    uint32Field(size.columns),
    uint32Field(size.rows),
    uint32Field(size.widthPixels),
    uint32Field(size.heightPixels),
  ]);
}

const EMPTY = Buffer.alloc(0);
