// A server's side of authentication (RFC 4252): reads attempts, verifies what can be verified here (a
// public key's signature), and leaves every decision to the caller. State: whether an attempt waits for
// the caller's answer, how many there were, for which user.

import {
  CONNECTION_SERVICE,
  decodeInfoResponse,
  decodeService,
  decodeUserauthRequest,
  encodeBanner,
  encodeInfoRequest,
  encodePkOk,
  encodeService,
  encodeUserauthFailure,
  type RequestedMethod,
  USERAUTH_SERVICE,
} from "./auth-messages.ts";
import { SshError } from "./errors.ts";
import type { AuthAttempt, AuthEvent, KeyboardPrompts } from "./events.ts";
import { byteField } from "./fields.ts";
import { keyOfAlgorithm, proofProblem } from "./key-proof.ts";
import { MSG } from "./numbers.ts";
import type { SshTransport } from "./transport.ts";

export class ServerAuth {
  /** The user who is let in. */
  accepted: string | undefined;
  readonly #transport: SshTransport;
  #serviceRequested = false;
  #user: string | undefined;
  #attempts = 0;
  /** What waits for an answer of the caller's. */
  #pending: AuthAttempt | "answers" | undefined;
  /** Prompts that the client has not answered. */
  #asked: number | undefined;

  constructor(transport: SshTransport) {
    this.#transport = transport;
  }

  /** The caller owes an answer; nothing further is read until it is there. */
  get waiting(): boolean {
    return this.#pending !== undefined;
  }

  /** Takes a message of numbers 5 and 50 to 79. @throws SshError */
  receive(payload: Buffer): AuthEvent | undefined {
    switch (payload[0]) {
      case MSG.serviceRequest: {
        const service = decodeService(payload);
        if (service !== USERAUTH_SERVICE) {
          throw new SshError("sequence", `the service ${service} cannot be had now`);
        }
        this.#serviceRequested = true;
        this.#transport.send(encodeService(MSG.serviceAccept, service));
        return undefined;
      }
      case MSG.userauthRequest:
        return this.#receiveRequest(payload);
      case MSG.userauthInfoResponse:
        return this.#receiveAnswers(payload);
      default:
        throw new SshError("sequence", `message ${payload[0]} in authentication`);
    }
  }

  accept(): void {
    this.#answered();
    this.accepted = this.#user;
    this.#transport.send(byteField(MSG.userauthSuccess));
  }

  reject(methods: readonly string[], partialSuccess: boolean): void {
    this.#answered();
    this.#transport.send(encodeUserauthFailure(methods, partialSuccess));
  }

  acceptKey(): void {
    const pending = this.#pending;
    if (typeof pending !== "object" || pending.method !== "publickey-query") {
      throw new SshError("state", "nobody asks whether a key would do");
    }
    this.#answered();
    this.#transport.send(encodePkOk(pending.algorithm, pending.key));
  }

  ask(prompts: KeyboardPrompts): void {
    const pending = this.#pending;
    if (
      pending !== "answers" &&
      !(typeof pending === "object" && pending.method === "keyboard-interactive")
    ) {
      throw new SshError("state", "nobody waits for prompts");
    }
    this.#answered();
    this.#asked = prompts.prompts.length;
    this.#transport.send(encodeInfoRequest(prompts));
  }

  sendBanner(text: string): void {
    if (this.accepted !== undefined) throw new SshError("state", "too late for a banner");
    this.#transport.send(encodeBanner(text));
  }

  #answered(): void {
    if (this.#pending === undefined) throw new SshError("state", "no attempt waits for an answer");
    this.#pending = undefined;
  }

  #receiveRequest(payload: Buffer): AuthEvent | undefined {
    // RFC 4252 section 5.1: requests after success are passed over.
    if (this.accepted !== undefined) return undefined;
    if (!this.#serviceRequested) throw new SshError("sequence", "authentication unasked for");
    this.#attempts++;
    if (this.#attempts > this.#transport.limits.maxAuthAttempts) {
      throw new SshError("authentication", "too many authentication attempts");
    }
    const request = decodeUserauthRequest(payload, this.#transport.sessionId!);
    if (request.service !== CONNECTION_SERVICE) {
      throw new SshError("sequence", `the service ${request.service} cannot be had`);
    }
    if (this.#user !== undefined && this.#user !== request.user) {
      throw new SshError("sequence", "the user name has changed");
    }
    this.#user = request.user;
    this.#asked = undefined;
    const attempt = this.#attempt(request.method);
    this.#pending = attempt;
    return { kind: "auth-request", user: request.user, attempt };
  }

  #attempt(method: RequestedMethod): AuthAttempt {
    switch (method.name) {
      case "none":
        return { method: "none" };
      case "password":
        if (method.change) return { method: "password-change" };
        return { method: "password", password: method.password };
      case "keyboard-interactive":
        return { method: "keyboard-interactive", submethods: method.submethods };
      case "other":
        return { method: "other", name: method.method };
      case "publickey": {
        const { algorithm, key, proof } = method;
        const problem = this.#keyProblem(method);
        if (problem !== undefined) return { method: "other", name: "publickey", problem };
        return proof === undefined
          ? { method: "publickey-query", algorithm, key }
          : { method: "publickey", algorithm, key };
      }
    }
  }

  #keyProblem(method: Extract<RequestedMethod, { name: "publickey" }>): string | undefined {
    const { algorithm, key, hostKey, proof } = method;
    if (!this.#transport.algorithms.clientKey.includes(algorithm)) {
      return `keys of ${algorithm} are not taken`;
    }
    if (hostKey !== undefined && !hostKey.equals(this.#transport.hostKey!)) {
      return "the signature is bound to another host";
    }
    if (proof !== undefined) return proofProblem(algorithm, key, proof.signature, proof.signedPart);
    try {
      keyOfAlgorithm(algorithm, key);
      return undefined;
    } catch (error) {
      if (error instanceof SshError) return error.message;
      throw error;
    }
  }

  #receiveAnswers(payload: Buffer): AuthEvent {
    if (this.#asked === undefined) throw new SshError("sequence", "answers to no prompts");
    const answers = decodeInfoResponse(payload);
    if (answers.length !== this.#asked) {
      throw new SshError("syntax", `${answers.length} answers to ${this.#asked} prompts`);
    }
    this.#asked = undefined;
    this.#pending = "answers";
    return { kind: "auth-answers", answers };
  }
}
