// Message numbers (RFC 4250 section 4.1.2, OpenSSH's PROTOCOL section 1.8) and disconnect reasons.

import type { SshErrorCode } from "./errors.ts";

export const MSG = {
  disconnect: 1,
  ignore: 2,
  unimplemented: 3,
  debug: 4,
  serviceRequest: 5,
  serviceAccept: 6,
  extInfo: 7,
  newCompress: 8,
  kexInit: 20,
  newKeys: 21,
  /** Of the key exchange method: 30 to 49. */
  kexMethodInit: 30,
  kexMethodReply: 31,
  userauthRequest: 50,
  userauthFailure: 51,
  userauthSuccess: 52,
  userauthBanner: 53,
  /** 60 to 79 depend on the method: PK_OK and PASSWD_CHANGEREQ share a number with INFO_REQUEST. */
  userauthPkOk: 60,
  userauthInfoRequest: 60,
  userauthInfoResponse: 61,
  globalRequest: 80,
  requestSuccess: 81,
  requestFailure: 82,
  channelOpen: 90,
  channelOpenConfirmation: 91,
  channelOpenFailure: 92,
  channelWindowAdjust: 93,
  channelData: 94,
  channelExtendedData: 95,
  channelEof: 96,
  channelClose: 97,
  channelRequest: 98,
  channelSuccess: 99,
  channelFailure: 100,
  ping: 192,
  pong: 193,
} as const;

export const DISCONNECT_REASONS = {
  hostNotAllowed: 1,
  protocolError: 2,
  keyExchangeFailed: 3,
  macError: 5,
  serviceNotAvailable: 7,
  versionNotSupported: 8,
  hostKeyNotVerifiable: 9,
  connectionLost: 10,
  byApplication: 11,
  tooManyConnections: 12,
  noMoreAuthMethods: 14,
} as const;

/** What a fault is called on the wire. */
export const REASON_OF_ERROR: Readonly<Record<SshErrorCode, number>> = {
  version: DISCONNECT_REASONS.versionNotSupported,
  packet: DISCONNECT_REASONS.protocolError,
  integrity: DISCONNECT_REASONS.macError,
  limit: DISCONNECT_REASONS.protocolError,
  truncated: DISCONNECT_REASONS.protocolError,
  trailing: DISCONNECT_REASONS.protocolError,
  text: DISCONNECT_REASONS.protocolError,
  syntax: DISCONNECT_REASONS.protocolError,
  sequence: DISCONNECT_REASONS.protocolError,
  negotiation: DISCONNECT_REASONS.keyExchangeFailed,
  exchange: DISCONNECT_REASONS.keyExchangeFailed,
  "host-key": DISCONNECT_REASONS.hostKeyNotVerifiable,
  key: DISCONNECT_REASONS.protocolError,
  authentication: DISCONNECT_REASONS.noMoreAuthMethods,
  state: DISCONNECT_REASONS.protocolError,
};
