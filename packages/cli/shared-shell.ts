// Somebody's live shell in this terminal: what it shows, made fit for who watches, and for a peer the keys
// that are typed, one request at a time with what gathered meanwhile.

import type { JoinMode, TerminalLine } from "@custody/contract/sessions.ts";

import type { Client } from "./client.ts";
import { harmless, type Io, jsonLine } from "./output.ts";
import { createTerminalFilter } from "./terminal-filter.ts";

export interface JoinOptions {
  readonly session: string;
  readonly mode: JoinMode;
  /** Lines as they come. */
  readonly json: boolean;
}

const LEAVE = 0x1d;
const CTRL_C = 0x03;
const MAX_TYPED_BYTES = 8192;
const LEFT = "you have left; the shell goes on";

/** Settles with why there is nothing more to be seen. */
export async function joinShell(
  io: Pick<Io, "stdout" | "typed">,
  client: Pick<Client, "lines" | "call" | "abandon">,
  { session, mode, json }: JoinOptions,
): Promise<string> {
  const lines = client.lines("joinSession", { params: { id: session }, body: { mode } });
  const left = Promise.withResolvers<IteratorResult<TerminalLine>>();
  const leave = () => left.resolve({ done: true, value: undefined });
  const keys = json ? undefined : keysOf(io, client, { session, mode }, leave);
  const filter = createTerminalFilter();
  let isDrawn = false;
  try {
    for (;;) {
      const next = lines.next();
      // Whoever leaves does not wait for it.
      next.catch(() => undefined);
      const { done, value } = await Promise.race([next, left.promise]);
      if (done === true) return LEFT;
      if (json) io.stdout(jsonLine(value));
      if (!("kind" in value)) continue;
      if (value.kind === "joined") keys?.begin(value.participant);
      if (value.kind === "end") return harmless(value.why);
      if (value.kind !== "output" || json) continue;
      // The first is the screen as it is, drawn on an empty one.
      if (!isDrawn) io.stdout(CLEARED);
      isDrawn = true;
      io.stdout(filter(Buffer.from(value.bytes, "base64")).toString("utf8"));
    }
  } finally {
    if (isDrawn) io.stdout(LEFT_BEHIND);
    keys?.stop();
    await client.abandon();
  }
}

const CLEARED = "\u001b[0m\u001b[?1049l\u001b[2J\u001b[H";
/** Colours, the alternate screen and a hidden cursor end with the visit. */
const LEFT_BEHIND = "\u001b[0m\u001b[?1049l\u001b[r\u001b[?25h\r\n";

function keysOf(
  io: Pick<Io, "typed">,
  client: Pick<Client, "call">,
  { session, mode }: Pick<JoinOptions, "session" | "mode">,
  leave: () => void,
) {
  let participant: string | undefined;
  let waiting = Buffer.alloc(0);
  let isSending = false;
  const send = async (): Promise<void> => {
    if (isSending || participant === undefined) return;
    isSending = true;
    while (waiting.length > 0) {
      const bytes = waiting.subarray(0, MAX_TYPED_BYTES);
      waiting = waiting.subarray(bytes.length);
      const body = { bytes: bytes.toString("base64") };
      await client.call("typeInSession", { params: { id: participant }, body });
    }
    isSending = false;
  };
  const typed = io.typed?.((given) => {
    const last = given.indexOf(mode === "peer" ? LEAVE : CTRL_C);
    if (last >= 0) return leave();
    if (mode === "moderator" && given.toString("latin1") === "t") {
      void client.call("endSession", { params: { id: session }, body: {} }).catch(leave);
      return;
    }
    if (mode !== "peer") return;
    waiting = Buffer.concat([waiting, given]);
    // A session that is gone ends the stream of what it shows as well.
    send().catch(leave);
  });
  return {
    begin(id: string) {
      participant = id;
      send().catch(leave);
    },
    stop: () => typed?.stop(),
  };
}
