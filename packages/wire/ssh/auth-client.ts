// A client's side of authentication (RFC 4252): one attempt at a time, as the caller says. State: what
// was tried last and is not answered.

import {
  decodeBanner,
  decodeInfoRequest,
  decodePkOk,
  decodeService,
  decodeUserauthFailure,
  encodeInfoResponse,
  encodePublicKeyQuery,
  encodeService,
  encodeUnsignedRequest,
  encodeUserauthRequest,
  USERAUTH_SERVICE,
} from "./auth-messages.ts";
import { SshError } from "./errors.ts";
import type { AuthEvent } from "./events.ts";
import { booleanField, readMessage, stringField, textField } from "./fields.ts";
import { MSG } from "./numbers.ts";
import type { SshTransport } from "./transport.ts";

type Pending =
  | { readonly method: "service" | "none" | "password" | "keyboard" | "publickey" }
  | { readonly method: "query"; readonly algorithm: string; readonly key: Buffer }
  | { readonly method: "prompts"; readonly count: number };

export class ClientAuth {
  /** The server has let us in. */
  accepted: string | undefined;
  readonly #transport: SshTransport;
  readonly #user: string;
  #pending: Pending | undefined;

  constructor(transport: SshTransport, user: string) {
    this.#transport = transport;
    this.#user = user;
  }

  /** After the first key exchange. */
  begin(): void {
    this.#pending = { method: "service" };
    this.#transport.send(encodeService(MSG.serviceRequest, USERAUTH_SERVICE));
  }

  /** Takes a message of numbers 6 and 50 to 79. @throws SshError */
  receive(payload: Buffer): AuthEvent | undefined {
    const pending = this.#pending;
    switch (payload[0]) {
      case MSG.serviceAccept:
        if (pending?.method !== "service" || decodeService(payload) !== USERAUTH_SERVICE) {
          throw new SshError("sequence", "a service nobody asked for");
        }
        this.#pending = undefined;
        return { kind: "auth-wanted", methods: [], partialSuccess: false };
      case MSG.userauthFailure:
        this.#attempted();
        this.#pending = undefined;
        return { kind: "auth-wanted", ...decodeUserauthFailure(payload) };
      case MSG.userauthSuccess:
        this.#attempted();
        if (payload.length !== 1) throw new SshError("trailing", "bytes behind a success");
        if (pending?.method === "query") throw new SshError("sequence", "success without a proof");
        this.#pending = undefined;
        this.accepted = this.#user;
        return { kind: "authenticated", user: this.#user };
      case MSG.userauthBanner:
        return { kind: "auth-banner", text: decodeBanner(payload) };
      case MSG.userauthPkOk:
        return this.#receiveOfMethod(payload);
      default:
        throw new SshError("sequence", `message ${payload[0]} in authentication`);
    }
  }

  tryNone(): void {
    this.#attempt({ method: "none" }, encodeUserauthRequest(this.#user, "none"));
  }

  tryPassword(password: Buffer): void {
    const fields = [booleanField(false), stringField(password)];
    const request = encodeUserauthRequest(this.#user, "password", ...fields);
    this.#attempt({ method: "password" }, request);
  }

  tryKeyboard(submethods: string): void {
    const fields = [textField(""), textField(submethods)];
    const request = encodeUserauthRequest(this.#user, "keyboard-interactive", ...fields);
    this.#attempt({ method: "keyboard" }, request);
  }

  answer(answers: readonly Buffer[]): void {
    if (this.#pending?.method !== "prompts" || this.#pending.count !== answers.length) {
      throw new SshError("state", "answers to other prompts than there are");
    }
    this.#pending = { method: "keyboard" };
    this.#transport.send(encodeInfoResponse(answers));
  }

  query(algorithm: string, key: Buffer): void {
    const request = encodePublicKeyQuery(this.#user, algorithm, key);
    this.#attempt({ method: "query", algorithm, key }, request);
  }

  signedPart(algorithm: string, key: Buffer): Buffer {
    const sessionId = this.#transport.sessionId;
    if (sessionId === undefined) throw new SshError("state", "there is no session yet");
    const request = encodeUnsignedRequest(this.#user, algorithm, key);
    return Buffer.concat([stringField(sessionId), request]);
  }

  tryKey(algorithm: string, key: Buffer, signature: Buffer): void {
    const request = encodeUnsignedRequest(this.#user, algorithm, key);
    this.#attempt({ method: "publickey" }, Buffer.concat([request, stringField(signature)]));
  }

  #attempt(pending: Pending, request: Buffer): void {
    if (this.#pending !== undefined || this.#transport.sessionId === undefined) {
      throw new SshError("state", "an attempt where none is wanted");
    }
    if (this.accepted !== undefined) throw new SshError("state", "already authenticated");
    this.#pending = pending;
    this.#transport.send(request);
  }

  /** A server answers attempts only. */
  #attempted(): void {
    if (this.#pending === undefined || this.#pending.method === "service") {
      throw new SshError("sequence", "an answer to no attempt");
    }
  }

  #receiveOfMethod(payload: Buffer): AuthEvent {
    const pending = this.#pending;
    if (pending?.method === "query") {
      const { algorithm, key } = decodePkOk(payload);
      if (algorithm !== pending.algorithm || !key.equals(pending.key)) {
        throw new SshError("sequence", "another key accepted than asked about");
      }
      this.#pending = undefined;
      return { kind: "auth-key-accepted", algorithm, key };
    }
    if (pending?.method === "keyboard") {
      const prompts = decodeInfoRequest(payload);
      this.#pending = { method: "prompts", count: prompts.prompts.length };
      return { kind: "auth-prompts", prompts };
    }
    if (pending?.method === "password") {
      this.#pending = undefined;
      const reader = readMessage(payload, MSG.userauthPkOk);
      return { kind: "auth-password-change", prompt: reader.shownText() };
    }
    throw new SshError("sequence", "a method's message without the method");
  }
}
