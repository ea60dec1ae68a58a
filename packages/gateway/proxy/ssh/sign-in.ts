// Signing in to the SSH door (RFC 4252, 4256): the user name says where to, `[account~]target`; a
// certificate of the gateway's, or a handle or token as a password, says who; a person who has neither is
// shown a code to sign in with elsewhere (door-code.ts). The door opens once the
// control side has a session and the target is connected to, so that whatever stands against it is told
// while the client still listens.
//
// Who owns the state: one a connection, until somebody is let in.

import { isCertificate } from "@custody/wire/ssh/certificate.ts";
import type { AuthEvent } from "@custody/wire/ssh/events.ts";
import { GatewayError, toGatewayError } from "../../base/errors.ts";
import { Secret } from "../../base/secret.ts";
import type { ShownCredential } from "../../session/control.ts";
import { DoorCode, type DoorCodeDeps } from "./door-code.ts";
import type { SshPeer } from "./peer.ts";
import { DISCONNECT_REASON, disconnectText, faultLines, shown } from "./wording.ts";

export interface Destination {
  readonly account: string | undefined;
  readonly target: string;
}

export interface SignInDeps {
  /** Whether a certificate may sign in at all, before its key is proved. Throws GatewayError. */
  readonly checkCertificate: (certificate: Buffer) => void;
  readonly code: DoorCodeDeps;
  /** Opens the way to the target. Throws GatewayError. */
  readonly open: (credential: ShownCredential, destination: Destination) => Promise<void>;
  readonly log: (message: string, error?: unknown) => void;
}

const METHODS = ["publickey", "keyboard-interactive", "password"] as const;
const NAME = /^(?:([a-z0-9-]{1,63})~)?([a-z0-9-]{1,63})$/;
const MAX_CREDENTIAL_BYTES = 16_384;

/** `[account~]target`; undefined when it is no such name. */
export function parseDestination(user: string): Destination | undefined {
  const parts = NAME.exec(user);
  if (parts?.[2] === undefined) return undefined;
  return { account: parts[1], target: parts[2] };
}

export class SignIn {
  readonly #peer: SshPeer;
  readonly #deps: SignInDeps;
  #code: DoorCode | undefined;
  #destination: Destination | undefined;
  #told = "";

  constructor(peer: SshPeer, deps: SignInDeps) {
    this.#peer = peer;
    this.#deps = deps;
  }

  handle(event: AuthEvent): void {
    if (event.kind === "auth-request") this.#attempt(event);
    else if (event.kind === "auth-answers") this.#answered(event.answers[0] ?? Buffer.alloc(0));
  }

  #answered(answer: Buffer): void {
    if (this.#code === undefined && answer.length > 0) {
      this.#bySecret(answer);
      return;
    }
    // Nobody signs in to be told that the target's name is wrong.
    if (this.#destination === undefined) {
      this.#open(new Secret(""));
      return;
    }
    this.#code ??= new DoorCode(this.#deps.code);
    this.#code
      .answered(answer.toString("utf8"))
      .then((next) => {
        if (this.#peer.isGone) return;
        if (next instanceof Secret) {
          this.#open(next);
          return;
        }
        this.#peer.connection.askKeyboard(next);
        this.#peer.touch();
      })
      .catch((thrown) => {
        this.#code = undefined;
        this.#fail(toGatewayError(thrown));
      });
  }

  #attempt({ user, attempt }: Extract<AuthEvent, { kind: "auth-request" }>): void {
    this.#destination = parseDestination(user);
    const { connection } = this.#peer;
    switch (attempt.method) {
      case "password":
        this.#bySecret(attempt.password);
        return;
      case "keyboard-interactive":
        this.#code = undefined;
        connection.askKeyboard({
          name: "",
          instruction: "",
          prompts: [
            { text: "Custody handle or token (empty: sign in with a code): ", echo: false },
          ],
        });
        this.#peer.touch();
        return;
      case "publickey-query":
      case "publickey": {
        if (!isCertificate(attempt.key)) {
          this.#reject();
          return;
        }
        try {
          this.#deps.checkCertificate(attempt.key);
        } catch (thrown) {
          this.#fail(toGatewayError(thrown));
          return;
        }
        if (attempt.method === "publickey") {
          this.#open({ kind: "ssh-certificate", certificate: attempt.key });
          return;
        }
        connection.acceptKey();
        this.#peer.touch();
        return;
      }
      default:
        this.#reject();
        return;
    }
  }

  #bySecret(secret: Buffer): void {
    if (secret.length > MAX_CREDENTIAL_BYTES || secret.length === 0) {
      this.#reject();
      return;
    }
    this.#open(new Secret(secret.toString("utf8").trim()));
    secret.fill(0);
  }

  #open(credential: ShownCredential): void {
    const destination = this.#destination;
    if (destination === undefined) {
      this.#fail(
        new GatewayError("not_found", "the user name is the target's: [account~]target", {
          hint: "custody targets lists them",
        }),
      );
      return;
    }
    this.#deps
      .open(credential, destination)
      .then(
        () => {
          if (this.#peer.isGone) return;
          this.#peer.connection.acceptAuth();
          this.#peer.touch();
        },
        (thrown) => this.#fail(toGatewayError(thrown)),
      )
      .catch((thrown) => {
        this.#deps.log("an SSH connection ended by a fault", thrown);
        this.#peer.destroy();
      });
  }

  /** Another credential may do where this one did not; nothing else would help. */
  #fail(error: GatewayError): void {
    if (this.#peer.isGone) return;
    if (error.code === "internal" || error.code === "target_unavailable")
      this.#deps.log(error.message, error.cause);
    if (error.code !== "unauthenticated") {
      this.#tell(error);
      this.#peer.disconnect(DISCONNECT_REASON[error.code], disconnectText(error));
      return;
    }
    this.#tell(error);
    this.#reject();
  }

  /** Before anybody is let in a banner is the only text that people get to see. */
  #tell(error: GatewayError): void {
    const text = shown(faultLines(error), true).toString("utf8");
    if (text === this.#told) return;
    this.#told = text;
    this.#peer.connection.sendBanner(text);
  }

  #reject(): void {
    this.#peer.connection.rejectAuth(METHODS);
    this.#peer.touch();
  }
}
