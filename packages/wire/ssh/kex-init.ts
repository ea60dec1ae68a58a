// SSH_MSG_KEXINIT and what the two of them agree on (RFC 4253 section 7.1; strict key exchange:
// OpenSSH's PROTOCOL section 1.10; RFC 8308 for "ext-info").

import { CIPHERS, type CipherKind, MACS, type MacKind } from "./ciphers.ts";
import { SshError } from "./errors.ts";
import {
  booleanField,
  byteField,
  nameListField,
  readMessage,
  type SshReader,
  uint32Field,
} from "./fields.ts";
import { KEX_METHODS, type KexMethod } from "./kex-methods.ts";
import { MSG } from "./numbers.ts";

export interface KexInit {
  readonly kex: readonly string[];
  readonly hostKey: readonly string[];
  readonly cipherToServer: readonly string[];
  readonly cipherToClient: readonly string[];
  readonly macToServer: readonly string[];
  readonly macToClient: readonly string[];
  readonly compressionToServer: readonly string[];
  readonly compressionToClient: readonly string[];
  readonly firstKexPacketFollows: boolean;
}

export const STRICT_CLIENT = "kex-strict-c-v00@openssh.com";
export const STRICT_SERVER = "kex-strict-s-v00@openssh.com";
export const EXT_INFO_CLIENT = "ext-info-c";

export interface Agreement {
  readonly kex: KexMethod;
  readonly hostKey: string;
  readonly toServer: DirectionAgreement;
  readonly toClient: DirectionAgreement;
  /** A packet of the peer's that guessed something else is to be passed over. */
  readonly guessWasWrong: boolean;
}

export interface DirectionAgreement {
  readonly cipher: CipherKind;
  readonly mac: MacKind | undefined;
}

export function encodeKexInit(init: KexInit, cookie: Buffer): Buffer {
  return Buffer.concat([
    byteField(MSG.kexInit),
    cookie,
    nameListField(init.kex),
    nameListField(init.hostKey),
    nameListField(init.cipherToServer),
    nameListField(init.cipherToClient),
    nameListField(init.macToServer),
    nameListField(init.macToClient),
    nameListField(init.compressionToServer),
    nameListField(init.compressionToClient),
    nameListField([]),
    nameListField([]),
    booleanField(init.firstKexPacketFollows),
    uint32Field(0),
  ]);
}

export function decodeKexInit(payload: Buffer): KexInit {
  const reader = readMessage(payload, MSG.kexInit);
  reader.bytes(COOKIE_BYTES);
  const init = {
    kex: names(reader),
    hostKey: names(reader),
    cipherToServer: names(reader),
    cipherToClient: names(reader),
    macToServer: names(reader),
    macToClient: names(reader),
    compressionToServer: names(reader),
    compressionToClient: names(reader),
  };
  names(reader); // Languages.
  names(reader);
  const firstKexPacketFollows = reader.boolean();
  reader.uint32(); // Reserved.
  reader.done();
  return { ...init, firstKexPacketFollows };
}

/** @throws SshError "negotiation" */
export function agree(client: KexInit, server: KexInit, peerIs: "client" | "server"): Agreement {
  const kexName = first("key exchange", client.kex, server.kex, (name) =>
    KEX_METHODS.some((one) => one.name === name),
  );
  const hostKey = first("host key", client.hostKey, server.hostKey);
  first("compression", client.compressionToServer, server.compressionToServer);
  first("compression", client.compressionToClient, server.compressionToClient);
  const peer = peerIs === "client" ? client : server;
  const guessed = client.kex[0] === server.kex[0] && client.hostKey[0] === server.hostKey[0];
  return {
    kex: KEX_METHODS.find((one) => one.name === kexName)!,
    hostKey,
    toServer: direction(
      first("cipher", client.cipherToServer, server.cipherToServer),
      client.macToServer,
      server.macToServer,
    ),
    toClient: direction(
      first("cipher", client.cipherToClient, server.cipherToClient),
      client.macToClient,
      server.macToClient,
    ),
    guessWasWrong: peer.firstKexPacketFollows && !guessed,
  };
}

function direction(
  cipherName: string,
  clientMacs: readonly string[],
  serverMacs: readonly string[],
): DirectionAgreement {
  const cipher = CIPHERS.find((one) => one.name === cipherName)!;
  if (cipher.authenticated) return { cipher, mac: undefined };
  const macName = first("MAC", clientMacs, serverMacs);
  return { cipher, mac: MACS.find((one) => one.name === macName)! };
}

// The first of the client's that the server has too. Our own list holds only what there is here.
function first(
  what: string,
  client: readonly string[],
  server: readonly string[],
  usable: (name: string) => boolean = () => true,
): string {
  const found = client.find((name) => server.includes(name) && usable(name));
  if (found !== undefined) return found;
  throw new SshError(
    "negotiation",
    `no ${what} in common: client ${shown(client)}; server ${shown(server)}`,
  );
}

function shown(list: readonly string[]): string {
  const text = list.join(",");
  return text.length > MAX_SHOWN ? `${text.slice(0, MAX_SHOWN)}…` : text;
}

function names(reader: SshReader): string[] {
  return reader.offeredNames(MAX_NAMES);
}

export const COOKIE_BYTES = 16;
const MAX_NAMES = 200;
const MAX_SHOWN = 160;
