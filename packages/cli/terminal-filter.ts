// What a recorded terminal wrote, made fit for the terminal of who replays it: text, colours and movement of
// the cursor pass; everything that makes a terminal answer, set titles, clipboards or keys, or speak of
// files, does not (ECMA-48 control strings, device reports and the like). State is kept across calls, for
// sequences are cut anywhere.

const ESC = 0x1b;
/** Cursor, erasing, scrolling, insert and delete, modes, colours. Not reports (c, n, q, t, x). */
const CSI_FINALS = new Set([..."ABCDEFGHIJKLMPSTXZ@`abdefghlmrsu"].map((one) => one.charCodeAt(0)));
/** Private modes that only change what is shown: cursor keys no, wrap, cursor, alternate screen. */
const MODES = /^\?(?:7|12|25|47|1047|1048|1049|2026)(?:;(?:7|12|25|47|1047|1048|1049|2026))*$/;
/** Save and restore the cursor, index, next line, reverse index. */
const ESC_FINALS = new Set([..."78DEM"].map((one) => one.charCodeAt(0)));
const MAX_PARAMETERS = 64;

type State = "text" | "escape" | "charset" | "csi" | "string" | "string escape";

export function createTerminalFilter(): (bytes: Buffer) => Buffer {
  let state: State = "text";
  let parameters = "";
  const step = (byte: number, out: number[]): void => {
    switch (state) {
      case "text":
        if (byte === ESC) state = "escape";
        // Backspace, tab, line feed, carriage return, bell is left out; C1 as raw bytes is no UTF-8.
        else if (byte >= 0x20 ? byte !== 0x7f : byte >= 0x08 && byte <= 0x0d) out.push(byte);
        return;
      case "escape":
        parameters = "";
        if (byte === 0x5b) state = "csi";
        else if ([0x5d, 0x50, 0x58, 0x5e, 0x5f].includes(byte)) state = "string";
        else if (byte >= 0x20 && byte <= 0x2f) state = "charset";
        else {
          if (ESC_FINALS.has(byte)) out.push(ESC, byte);
          state = byte === ESC ? "escape" : "text";
        }
        return;
      case "charset":
        // Line drawing characters stay letters; what is between ESC and its final byte goes.
        if (byte >= 0x30) state = "text";
        return;
      case "csi":
        if (byte >= 0x40 && byte <= 0x7e) {
          if (passes(parameters, byte)) out.push(ESC, 0x5b, ...Buffer.from(parameters), byte);
          state = "text";
        } else if (byte === ESC) state = "escape";
        else if (parameters.length < MAX_PARAMETERS) parameters += String.fromCharCode(byte);
        return;
      case "string":
        if (byte === 0x07) state = "text";
        else if (byte === ESC) state = "string escape";
        return;
      case "string escape":
        state = byte === 0x5c ? "text" : "string";
    }
  };
  return (bytes) => {
    const out: number[] = [];
    for (const byte of withoutC1(bytes)) step(byte, out);
    return Buffer.from(out);
  };
}

function passes(parameters: string, final: number): boolean {
  if (!CSI_FINALS.has(final)) return false;
  if (/^[0-9;:]*$/.test(parameters)) return true;
  return (final === 0x68 || final === 0x6c) && MODES.test(parameters);
}

/** U+0080 to U+009F in UTF-8 are controls for some terminals. */
function* withoutC1(bytes: Buffer): Generator<number> {
  for (let at = 0; at < bytes.length; at++) {
    const next = bytes[at + 1] ?? 0;
    if (bytes[at] === 0xc2 && next >= 0x80 && next <= 0x9f) at++;
    else yield bytes[at]!;
  }
}
