// One key exchange (RFC 4253 sections 7 and 8): from both KEXINITs to the keys of both directions. It
// gets messages and gives back what is to be sent and used; the transport says when. State: what has
// been sent and received of this exchange; it is thrown away when the exchange is done.

import { createHash } from "node:crypto";
import type { OfferedHostKey } from "./algorithms.ts";
import { signatureAlgorithmOf } from "./certificate.ts";
import type { DirectionKeys } from "./ciphers.ts";
import { SshError } from "./errors.ts";
import { byteField, readMessage, stringField } from "./fields.ts";
import {
  type Agreement,
  agree,
  type DirectionAgreement,
  decodeKexInit,
  type KexInit,
} from "./kex-init.ts";
import type { Initiation } from "./kex-methods.ts";
import { proofProblem } from "./key-proof.ts";
import { signBlob } from "./keys.ts";
import { MSG } from "./numbers.ts";
import type { HostKeyOffer } from "./options.ts";

export interface ExchangeParties {
  readonly role: "server" | "client";
  readonly clientVersion: string;
  readonly serverVersion: string;
  /** A server's. */
  readonly hostKeys: readonly OfferedHostKey[];
  /** A client's. */
  readonly hostKeyAccepted: (offer: HostKeyOffer) => boolean;
}

export interface ExchangeResult {
  readonly agreement: Agreement;
  readonly hostKey: Buffer;
  readonly sessionId: Buffer;
  readonly toServer: DirectionKeys;
  readonly toClient: DirectionKeys;
}

export class KeyExchange {
  readonly #parties: ExchangeParties;
  readonly #ownInit: KexInit;
  readonly #ownPayload: Buffer;
  #peerPayload: Buffer | undefined;
  #agreement: Agreement | undefined;
  #initiation: Initiation | undefined;
  #skipNext = false;

  constructor(parties: ExchangeParties, ownInit: KexInit, ownPayload: Buffer) {
    this.#parties = parties;
    this.#ownInit = ownInit;
    this.#ownPayload = ownPayload;
  }

  /** The peer's KEXINIT has come: it may send nothing but this exchange until its NEWKEYS. */
  get peerStarted(): boolean {
    return this.#peerPayload !== undefined;
  }

  /** Takes the peer's KEXINIT. @returns it, and the client's first message. @throws SshError */
  start(payload: Buffer): { readonly peerInit: KexInit; readonly send: Buffer | undefined } {
    if (this.#peerPayload !== undefined) throw new SshError("sequence", "a second KEXINIT");
    const peerInit = decodeKexInit(payload);
    this.#peerPayload = payload;
    const isClient = this.#parties.role === "client";
    const agreement = isClient
      ? agree(this.#ownInit, peerInit, "server")
      : agree(peerInit, this.#ownInit, "client");
    this.#agreement = agreement;
    this.#skipNext = agreement.guessWasWrong;
    if (!isClient) return { peerInit, send: undefined };
    this.#initiation = agreement.kex.initiate();
    const value = agreement.kex.field(this.#initiation.value);
    return { peerInit, send: Buffer.concat([byteField(MSG.kexMethodInit), value]) };
  }

  /**
   * Takes a message of the method, 30 to 49.
   * @returns the keys and what a server sends, undefined when the message was to be passed over
   * @throws SshError
   */
  receive(
    payload: Buffer,
    sessionId: Buffer | undefined,
  ): { readonly result: ExchangeResult; readonly send: Buffer | undefined } | undefined {
    if (this.#agreement === undefined) {
      throw new SshError("sequence", "a key exchange that nobody began");
    }
    if (this.#skipNext) {
      this.#skipNext = false;
      return undefined;
    }
    return this.#parties.role === "server"
      ? this.#respond(this.#agreement, payload, sessionId)
      : this.#finish(this.#agreement, payload, sessionId);
  }

  #respond(agreement: Agreement, payload: Buffer, sessionId: Buffer | undefined) {
    const reader = readMessage(payload, MSG.kexMethodInit);
    const clientValue = agreement.kex.readValue(reader);
    reader.done();
    const offered = this.#parties.hostKeys.find((one) => one.algorithm === agreement.hostKey)!;
    const { value, secret } = agreement.kex.respond(clientValue);
    const hash = this.#exchangeHash(agreement, offered.blob, clientValue, value, secret);
    const algorithm = signatureAlgorithmOf(offered.algorithm);
    const signature = signBlob(offered.hostKey.privateKey, algorithm, hash);
    const send = Buffer.concat([
      byteField(MSG.kexMethodReply),
      stringField(offered.blob),
      agreement.kex.field(value),
      stringField(signature),
    ]);
    return { result: resultOf(agreement, offered.blob, secret, hash, sessionId), send };
  }

  #finish(agreement: Agreement, payload: Buffer, sessionId: Buffer | undefined) {
    const reader = readMessage(payload, MSG.kexMethodReply);
    const hostKey = Buffer.from(reader.string());
    const serverValue = agreement.kex.readValue(reader);
    const signature = reader.string();
    reader.done();
    const initiation = this.#initiation!;
    const secret = initiation.finish(serverValue);
    const hash = this.#exchangeHash(agreement, hostKey, initiation.value, serverValue, secret);
    const problem = proofProblem(agreement.hostKey, hostKey, signature, hash);
    if (problem !== undefined) throw new SshError("exchange", `the host key: ${problem}`);
    if (!this.#parties.hostKeyAccepted({ algorithm: agreement.hostKey, key: hostKey })) {
      throw new SshError("host-key", "the host key is not the expected one");
    }
    const result = resultOf(agreement, hostKey, secret, hash, sessionId);
    return { result, send: undefined };
  }

  #exchangeHash(
    agreement: Agreement,
    hostKey: Buffer,
    clientValue: Buffer,
    serverValue: Buffer,
    secret: Buffer,
  ): Buffer {
    const { role, clientVersion, serverVersion } = this.#parties;
    const inits = [this.#ownPayload, this.#peerPayload!];
    if (role === "server") inits.reverse();
    const hash = createHash(agreement.kex.hash);
    hash.update(stringField(Buffer.from(clientVersion, "latin1")));
    hash.update(stringField(Buffer.from(serverVersion, "latin1")));
    for (const init of inits) hash.update(stringField(init));
    hash.update(stringField(hostKey));
    hash.update(agreement.kex.field(clientValue));
    hash.update(agreement.kex.field(serverValue));
    hash.update(secret);
    return hash.digest();
  }
}

// RFC 4253 section 7.2; the session id is the first exchange's hash for ever.
function resultOf(
  agreement: Agreement,
  hostKey: Buffer,
  secret: Buffer,
  hash: Buffer,
  earlierSessionId: Buffer | undefined,
): ExchangeResult {
  const sessionId = earlierSessionId ?? hash;
  const derive = (letter: string, bytes: number): Buffer => {
    const digest = (...parts: Buffer[]): Buffer => {
      const hasher = createHash(agreement.kex.hash).update(secret).update(hash);
      for (const part of parts) hasher.update(part);
      return hasher.digest();
    };
    let key = digest(Buffer.from(letter, "latin1"), sessionId);
    while (key.length < bytes) key = Buffer.concat([key, digest(key)]);
    return key.subarray(0, bytes);
  };
  const keys = (direction: DirectionAgreement, letters: string): DirectionKeys => ({
    ...direction,
    iv: derive(letters[0]!, direction.cipher.ivBytes),
    key: derive(letters[1]!, direction.cipher.keyBytes),
    macKey: derive(letters[2]!, direction.mac?.keyBytes ?? 0),
  });
  return {
    agreement,
    hostKey,
    sessionId,
    toServer: keys(agreement.toServer, "ACE"),
    toClient: keys(agreement.toClient, "BDF"),
  };
}
