// What the parts of one SSH session share, and what a channel is to the relay.

import type { ReplySlot } from "@custody/wire/ssh/events.ts";
import type { ChannelOpen, ChannelRequest, TerminalSize } from "@custody/wire/ssh/requests.ts";
import type { Clock } from "../../base/clock.ts";
import type { Grammars } from "../../command/load-grammars.ts";
import type { Recorder } from "../../recording/recorder.ts";
import type { SshShell } from "../../target/ssh-target.ts";
import type { BackChannels } from "./back-channels.ts";
import type { ChannelEnd, Flow } from "./flow.ts";
import type { Judge } from "./judge.ts";
import type { Site } from "./operations.ts";
import type { SharedTerminals } from "./shared-terminals.ts";
import type { Lines } from "./wording.ts";

export interface RelayContext {
  readonly site: Site;
  /** The account's login shell; undefined: not declared. */
  readonly shell: SshShell | undefined;
  /** Slips in shells are held back (slip-guard.ts). */
  readonly holdToRun: boolean;
  readonly judge: Judge;
  readonly recorder: Recorder;
  readonly grammars: Grammars;
  /** What the target may open to the client. */
  readonly backChannels: BackChannels;
  /** Shells that others may take part in. */
  readonly terminals: SharedTerminals;
  readonly clock: Clock;
  /** Asks the target for a channel; `handler` gets what happens on it. */
  readonly openUpstream: OpenUpstream;
  /** The same, for one command alone (command-connections.ts). */
  readonly commandConnections: {
    open(line: Buffer): Promise<OpenUpstream | undefined>;
    close(): void;
  };
  readonly log: (message: string, error?: unknown) => void;
}

export type OpenUpstream = (open: ChannelOpen, handler: ChannelHandler) => ChannelEnd;

/** What becomes of a channel's events, whichever peer it is of. */
export interface ChannelHandler {
  onData(stream: number, data: Buffer): void;
  onEof(): void;
  /** More may be sent on it. */
  onWritable(): void;
  onRequest(request: ChannelRequest, reply: ReplySlot | undefined): void;
  onReply(tag: unknown, success: boolean): void;
  onOpened(): void;
  onRefused(text: string): void;
  /** The last; also when the connection is gone. */
  onClosed(): void;
}

export interface Terminal {
  readonly term: Buffer;
  readonly size: TerminalSize;
  readonly modes: Buffer;
}

export interface Variable {
  readonly name: Buffer;
  readonly value: Buffer;
}

/** The client's side of what runs. */
export interface ClientSide {
  readonly end: ChannelEnd;
  readonly toClient: Flow;
  readonly toTarget: Flow;
  readonly terminal: Terminal | undefined;
  readonly environment: readonly Variable[];
  /** Everything was said; `exit` undefined: the target's own was passed on. */
  readonly close: (lines: Lines, exit: number | undefined) => void;
}
