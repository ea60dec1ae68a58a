// Strict UTF-8 (RFC 3629): shortest form, no surrogates, at most U+10FFFF.

const REPLACEMENT = "\ufffd";

/**
 * The text of buffer[start,end), or undefined when it is not valid UTF-8. The lenient native decoder
 * turns what is invalid into U+FFFD, so only a text that holds one is checked byte by byte.
 */
export function utf8Text(buffer: Buffer, start: number, end: number): string | undefined {
  const text = buffer.toString("utf8", start, end);
  if (text.includes(REPLACEMENT) && !isUtf8(buffer, start, end)) return undefined;
  return text;
}

/** Whether buffer[start,end) is valid UTF-8. */
export function isUtf8(buffer: Uint8Array, start: number, end: number): boolean {
  let at = start;
  while (at < end) {
    const lead = buffer[at++]!;
    if (lead < 0x80) continue;
    const size = sequenceSize(lead);
    if (size === 0 || at + size - 1 > end) return false;
    const second = buffer[at]!;
    if (second < secondFrom(lead) || second > secondTo(lead)) return false;
    for (let index = 1; index < size - 1; index++) {
      const byte = buffer[at + index]!;
      if (byte < 0x80 || byte > 0xbf) return false;
    }
    at += size - 1;
  }
  return true;
}

// RFC 3629 section 4: the lead byte gives the size, and four of them narrow the second byte.
function sequenceSize(lead: number): number {
  if (lead >= 0xc2 && lead <= 0xdf) return 2;
  if (lead >= 0xe0 && lead <= 0xef) return 3;
  if (lead >= 0xf0 && lead <= 0xf4) return 4;
  return 0;
}

function secondFrom(lead: number): number {
  if (lead === 0xe0) return 0xa0;
  if (lead === 0xf0) return 0x90;
  return 0x80;
}

function secondTo(lead: number): number {
  if (lead === 0xed) return 0x9f;
  if (lead === 0xf4) return 0x8f;
  return 0xbf;
}
