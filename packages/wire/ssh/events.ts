// What an SshConnection tells its caller, one event at a time, in the order of the wire. Buffers in
// events belong to the receiver: nothing writes to them again.

import type { SshError } from "./errors.ts";
import type { ChannelOpen, ChannelRequest, GlobalRequest } from "./requests.ts";

export type SshEvent = TransportEvent | AuthEvent | ConnectionEvent;

export type TransportEvent =
  /** A key exchange is done; `first` once a connection. */
  | { readonly kind: "keyed"; readonly first: boolean; readonly negotiated: Negotiated }
  /** SSH_MSG_DISCONNECT of the peer; the last event. */
  | { readonly kind: "disconnected"; readonly reason: number; readonly text: string }
  /** The peer broke the protocol or a limit; a disconnect message is in the output. The last event. */
  | { readonly kind: "failed"; readonly error: SshError };

export interface Negotiated {
  readonly peerVersion: string;
  readonly kex: string;
  readonly hostKeyAlgorithm: string;
  /** Public key or certificate blob of the server. */
  readonly hostKey: Buffer;
  readonly strict: boolean;
  readonly sent: NegotiatedDirection;
  readonly received: NegotiatedDirection;
}

export interface NegotiatedDirection {
  readonly cipher: string;
  /** "" when the cipher authenticates by itself. */
  readonly mac: string;
}

export type AuthEvent =
  // To a server. After one of these two next() gives nothing more until the caller has answered with
  // acceptAuth(), rejectAuth(), acceptKey() (for "publickey-query") or askKeyboard().
  | { readonly kind: "auth-request"; readonly user: string; readonly attempt: AuthAttempt }
  | { readonly kind: "auth-answers"; readonly answers: readonly Buffer[] }
  // To a client. It may authenticate now; `methods` are what may go on, empty before the first attempt.
  | {
      readonly kind: "auth-wanted";
      readonly methods: readonly string[];
      /** The attempt before this was accepted, but is not enough. */
      readonly partialSuccess: boolean;
    }
  | { readonly kind: "auth-prompts"; readonly prompts: KeyboardPrompts }
  /** The key of a query would be accepted: sign. */
  | { readonly kind: "auth-key-accepted"; readonly algorithm: string; readonly key: Buffer }
  /** The password has expired; there is no way on but another attempt. */
  | { readonly kind: "auth-password-change"; readonly prompt: string }
  | { readonly kind: "auth-banner"; readonly text: string }
  // To both.
  | { readonly kind: "authenticated"; readonly user: string };

export type AuthAttempt =
  | { readonly method: "none" }
  | { readonly method: "password"; readonly password: Buffer }
  /** A password change: refuse it. */
  | { readonly method: "password-change" }
  | { readonly method: "keyboard-interactive"; readonly submethods: string }
  /** "Would this key do?" Nothing is proved. */
  | { readonly method: "publickey-query"; readonly algorithm: string; readonly key: Buffer }
  /**
   * The signature over this connection's session id and this user is verified, of an algorithm that is
   * allowed and fits the key. Whether the key (a certificate: by verifyCertificate) may log in is the
   * caller's to say.
   */
  | { readonly method: "publickey"; readonly algorithm: string; readonly key: Buffer }
  /** "hostbased", "gssapi-with-mic"…; also a publickey attempt whose signature does not verify. */
  | { readonly method: "other"; readonly name: string; readonly problem?: string };

export interface KeyboardPrompts {
  readonly name: string;
  readonly instruction: string;
  readonly prompts: readonly { readonly text: string; readonly echo: boolean }[];
}

export type ConnectionEvent =
  /** To be answered with replyGlobal(reply, …), in any order, when `reply` is there. */
  | {
      readonly kind: "global-request";
      readonly request: GlobalRequest;
      readonly reply: ReplySlot | undefined;
    }
  /** To a requestGlobal() of ours with that tag. */
  | {
      readonly kind: "global-reply";
      readonly tag: unknown;
      readonly success: boolean;
      readonly data: Buffer;
    }
  /** To be answered with acceptChannel() or refuseChannel(), any time later. */
  | { readonly kind: "channel-open"; readonly channel: number; readonly open: ChannelOpen }
  /** An openChannel() of ours succeeded: data and requests may be sent. */
  | { readonly kind: "channel-opened"; readonly channel: number }
  | {
      readonly kind: "channel-refused";
      readonly channel: number;
      readonly reason: number;
      readonly text: string;
    }
  /**
   * `stream` is 0, or the code of extended data (STDERR). The bytes count against the window until
   * consumed(channel, …) says otherwise.
   */
  | {
      readonly kind: "channel-data";
      readonly channel: number;
      readonly stream: number;
      readonly data: Buffer;
    }
  /** To be answered with replyChannel(reply, …), in any order, when `reply` is there. */
  | {
      readonly kind: "channel-request";
      readonly channel: number;
      readonly request: ChannelRequest;
      readonly reply: ReplySlot | undefined;
    }
  /** To a requestChannel() of ours with that tag. */
  | {
      readonly kind: "channel-reply";
      readonly channel: number;
      readonly tag: unknown;
      readonly success: boolean;
    }
  /** sendData() took less than it was given before; now it may take more. */
  | { readonly kind: "channel-writable"; readonly channel: number }
  | { readonly kind: "channel-eof"; readonly channel: number }
  /** Both sides have closed it (an answer of ours included); the number is not used again. */
  | { readonly kind: "channel-closed"; readonly channel: number };

/** A place in the order of replies: replies leave in the order of their requests, whenever given. */
export interface ReplySlot {
  readonly order: number;
}
