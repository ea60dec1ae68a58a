// A person at the SSH door with neither certificate nor handle: keyboard-interactive (RFC 4256) shows where
// to enter which code, the client answers nothing, and the door opens once they have signed in there.
//
// Who owns the state: one an attempt. What came of it lives as long as the connection, whose end the
// listener tells the control side.

import type { KeyboardPrompts } from "@custody/wire/ssh/events.ts";
import type { Secret } from "../../base/secret.ts";
import type { BegunSignIn, Control } from "../../session/control.ts";
import { plain } from "./wording.ts";

const MAX_SHOWN_LENGTH = 60;

export interface DoorCodeDeps extends Pick<Control, "beginSignIn" | "finishSignIn"> {
  /** It began, and the person is waited for that long. */
  readonly onBegun: (id: string, expiresAtMs: number) => void;
}

export class DoorCode {
  readonly #deps: DoorCodeDeps;
  #begun: BegunSignIn | undefined;

  constructor(deps: DoorCodeDeps) {
    this.#deps = deps;
  }

  /** What to ask next, or with what they signed in. Throws GatewayError. */
  async answered(answer: string): Promise<KeyboardPrompts | Secret> {
    const before = this.#begun;
    if (before?.kind === "code") return await this.#deps.finishSignIn(before.id);
    const wanted = before === undefined ? undefined : answer.trim();
    this.#begun = await this.#deps.beginSignIn(wanted);
    if (this.#begun.kind === "choose") return choice(this.#begun.names, wanted);
    const { expiresAtMs, id, userCode, verificationUri } = this.#begun;
    this.#deps.onBegun(id, expiresAtMs);
    const instruction = [
      "Custody: to sign in, open",
      `  ${plain(verificationUri)}`,
      `with this code: ${plain(userCode)}`,
      "This goes on by itself when you have.",
    ].join("\n");
    // Without a prompt a client answers at once, and waits.
    return { name: "", instruction, prompts: [] };
  }
}

/** `wanted`: what there is not. */
function choice(names: readonly string[], wanted: string | undefined): KeyboardPrompts {
  const text = `Sign in with (${names.map(plain).join(", ")}): `;
  const instruction =
    wanted === undefined ? "" : `Custody: nobody signs in with ${shortened(wanted)} here`;
  return { name: "", instruction, prompts: [{ text, echo: true }] };
}

function shortened(text: string): string {
  const shown = plain(text);
  if (shown === "") return "nothing";
  return shown.length > MAX_SHOWN_LENGTH ? `${shown.slice(0, MAX_SHOWN_LENGTH)}…` : shown;
}
