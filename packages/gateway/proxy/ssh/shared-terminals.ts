// The shells of one session that others may watch or take part in: what they showed last, who is there, and
// what those type. Whoever owns the shell is told of everybody who comes and goes. What a participant types
// goes the same way as the owner's keys, into the owner's shell with the owner's rights.
//
// Who owns the state: one a session. A participant belongs to the newest shell there was when they came.

import type { TerminalSize } from "@custody/wire/ssh/requests.ts";
import type { JoinMode, ParticipantAct, ParticipantView } from "../../session/control.ts";

export interface SharedTerminalsDeps {
  readonly show: (participant: string, view: ParticipantView) => void;
  /** Into the session's recording. */
  readonly record: (requestId: string, type: string, data: Record<string, unknown>) => void;
}

/** A shell's own side. */
export interface ShellSide {
  readonly requestId: string;
  readonly size: TerminalSize;
  /** false: it takes nothing now. */
  readonly type: (bytes: Buffer) => boolean;
  /** On the owner's terminal. */
  readonly tell: (line: string) => void;
}

export interface SharedTerminal {
  output(bytes: Buffer): void;
  resized(size: TerminalSize): void;
  close(): void;
}

interface Shell {
  readonly side: ShellSide;
  size: TerminalSize;
  /** The end of what it showed. */
  shown: Buffer;
  readonly participants: Map<string, { readonly who: string; readonly mode: JoinMode }>;
}

/** What somebody who comes later is shown of before: a few screens. */
const SHOWN_BYTES = 32 * 1024;
const MODES: Readonly<Record<JoinMode, string>> = {
  observer: "watches this shell",
  peer: "takes part in this shell",
  moderator: "watches this shell and may end it",
};

export class SharedTerminals {
  readonly #deps: SharedTerminalsDeps;
  readonly #shells = new Set<Shell>();

  constructor(deps: SharedTerminalsDeps) {
    this.#deps = deps;
  }

  open(side: ShellSide): SharedTerminal {
    const shell: Shell = {
      ...{ side, size: side.size, shown: Buffer.alloc(0), participants: new Map() },
    };
    this.#shells.add(shell);
    const show = (view: ParticipantView) => {
      for (const participant of shell.participants.keys()) this.#deps.show(participant, view);
    };
    return {
      output(bytes) {
        shell.shown = Buffer.concat([shell.shown, bytes]).subarray(-SHOWN_BYTES);
        show({ kind: "output", bytes });
      },
      resized(size) {
        shell.size = size;
        show(sizeView(size));
      },
      close: () => {
        if (!this.#shells.delete(shell)) return;
        show({ kind: "end", why: "the shell has ended" });
        shell.participants.clear();
      },
    };
  }

  act(act: ParticipantAct): void {
    if (act.act === "join") {
      this.#join(act);
      return;
    }
    const shell = [...this.#shells].find((one) => one.participants.has(act.participant));
    const participant = shell?.participants.get(act.participant);
    if (shell === undefined || participant === undefined) return;
    const { who } = participant;
    if (act.act === "leave") {
      shell.participants.delete(act.participant);
      this.#deps.record(shell.side.requestId, "left", { who });
      shell.side.tell(`Custody: ${who} has left`);
      return;
    }
    if (participant.mode !== "peer" || !shell.side.type(Buffer.from(act.bytes))) return;
    this.#deps.record(shell.side.requestId, "typed", { who, bytes: act.bytes.length });
  }

  #join({ participant, who, mode }: Extract<ParticipantAct, { act: "join" }>): void {
    const shell = [...this.#shells].at(-1);
    if (shell === undefined) {
      const why = "no shell runs in this session, or what it shows is not kept";
      this.#deps.show(participant, { kind: "end", why });
      return;
    }
    this.#deps.record(shell.side.requestId, "joined", { who, mode });
    shell.side.tell(`Custody: ${who} ${MODES[mode]}`);
    this.#deps.show(participant, sizeView(shell.size));
    // The oldest line may be there by half.
    const from = shell.shown.length < SHOWN_BYTES ? 0 : shell.shown.indexOf(0x0a) + 1;
    this.#deps.show(participant, {
      kind: "output",
      bytes: Buffer.from(shell.shown.subarray(from)),
    });
    shell.participants.set(participant, { who, mode });
  }
}

function sizeView({ columns, rows }: TerminalSize): ParticipantView {
  return { kind: "size", columns, rows };
}
