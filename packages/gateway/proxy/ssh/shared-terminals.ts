// The shells of one session that others may watch or take part in: what they showed last, who is there, and
// what those type. Whoever owns the shell is told of everybody who comes and goes. What a participant types
// goes the same way as the owner's keys, into the owner's shell with the owner's rights.
//
// Who owns the state: one a session. A participant belongs to the newest shell there was when they came.

import type { TerminalSize } from "@custody/wire/ssh/requests.ts";
import type { Screen } from "../../recording/screen.ts";
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
  /** Of what it showed until now. */
  readonly screen: Pick<Screen, "show">;
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

interface Participant {
  readonly who: string;
  readonly mode: JoinMode;
  /** Was shown what was there before, and is shown what comes. */
  isShown: boolean;
}

interface Shell {
  readonly side: ShellSide;
  size: TerminalSize;
  readonly participants: Map<string, Participant>;
}

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
      ...{ side, size: side.size, participants: new Map() },
    };
    this.#shells.add(shell);
    const show = (view: ParticipantView) => {
      for (const [participant, { isShown }] of shell.participants)
        if (isShown) this.#deps.show(participant, view);
    };
    return {
      output: (bytes) => show({ kind: "output", bytes }),
      resized(size) {
        shell.size = size;
        show(sizeView(size));
      },
      close: () => {
        if (!this.#shells.delete(shell)) return;
        for (const participant of shell.participants.keys())
          this.#deps.show(participant, { kind: "end", why: "the shell has ended" });
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
    const one: Participant = { who, mode, isShown: false };
    shell.participants.set(participant, one);
    shell.side.screen.show((screen) => {
      // They may have left, or the shell ended.
      if (shell.participants.get(participant) !== one) return;
      one.isShown = true;
      this.#deps.show(participant, sizeView(shell.size));
      if (screen !== undefined)
        this.#deps.show(participant, { kind: "output", bytes: screen.bytes });
    });
  }
}

function sizeView({ columns, rows }: TerminalSize): ParticipantView {
  return { kind: "size", columns, rows };
}
