// Plays one attempt: bytes to the gateway over a connection of its own, every byte that comes back
// searched for the canaries in every form they could have.

import { connect } from "node:tls";
import { gunzipSync } from "node:zlib";
import type { Attempt } from "./attempt.ts";

export interface Attacked {
  readonly host: string;
  readonly port: number;
  readonly ca: string;
  readonly token: string;
  readonly canaries: readonly string[];
}

const READ_MS = 15_000;

/** What is wrong about what came back; empty: nothing. */
export async function attack(at: Attacked, attempt: Attempt): Promise<string[]> {
  const answer = await exchange(at, attempt);
  const wrong = leaks(answer, at.canaries);
  const text = answer.toString("latin1");
  const status = Number(/^HTTP\/1\.1 (\d{3})/.exec(text)?.[1] ?? 0);
  if (attempt.must === "denied" && answer.length > 0) {
    if (status < 400) wrong.push(`it is answered by ${status}: ${text.slice(0, 300)}`);
    // 400 comes from node's own parser too.
    else if (status !== 400 && !text.includes("Custody"))
      wrong.push(`it is not the gateway that refuses it: ${text.slice(0, 400)}`);
  }
  if (attempt.must === "masked" && !(status >= 200 && status < 300))
    wrong.push(`status ${status}: ${text.slice(-300)}`);
  return wrong;
}

/** What comes back, byte for byte. */
export function exchange({ host, port, ca, token }: Attacked, attempt: Attempt): Promise<Buffer> {
  const { method, path, prefix = "/prod", headers = [], body = "" } = attempt;
  const given = new Set(headers.map(([name]) => name.toLowerCase()));
  const bytes = Buffer.from(body);
  const own: (readonly [string, string])[] = [
    ["host", `${host}:${port}`],
    ["authorization", `Bearer ${token}`],
    ["connection", "close"],
    ...(bytes.length > 0 || method === "POST" || method === "PUT"
      ? [["content-length", String(bytes.length)] as const]
      : []),
  ];
  const lines = [...own.filter(([name]) => !given.has(name)), ...headers];
  const head = `${method} ${prefix}${path} HTTP/1.1\r\n${lines.map((line) => line.join(": ")).join("\r\n")}\r\n\r\n`;
  return new Promise((resolve, reject) => {
    const parts: Buffer[] = [];
    const socket = connect({ host, port, ca, ALPNProtocols: ["http/1.1"] }, () => {
      socket.write(Buffer.concat([Buffer.from(head, "latin1"), bytes]));
    });
    let timer = setTimeout(() => socket.destroy(), READ_MS);
    socket.once("data", () => {
      if (attempt.readMs === undefined) return;
      clearTimeout(timer);
      timer = setTimeout(() => socket.destroy(), attempt.readMs);
    });
    socket.on("data", (part: Buffer) => parts.push(part));
    socket.on("error", reject);
    socket.on("close", () => {
      clearTimeout(timer);
      resolve(Buffer.concat(parts));
    });
  });
}

/** Each canary in plain, base64 at every offset, hex, reversed, cut; also in what was compressed or in pieces. */
export function leaks(answer: Buffer, canaries: readonly string[]): string[] {
  const whole = joined(answer);
  const texts = [answer.toString("latin1"), whole.toString("latin1"), inflated(whole)];
  const found: string[] = [];
  for (const canary of canaries)
    for (const [form, written] of forms(canary))
      if (texts.some((text) => text.includes(written)))
        found.push(`${canary} comes back in ${form}`);
  return found;
}

function forms(canary: string): [string, string][] {
  const base64 = [0, 1, 2].map((offset): [string, string] => {
    const padded = Buffer.concat([Buffer.alloc(offset), Buffer.from(canary)]).toString("base64");
    // What its neighbours do not change.
    return ["base64", padded.slice(offset === 0 ? 0 : 4, -4)];
  });
  const twice = Buffer.from(Buffer.from(canary).toString("base64")).toString("base64").slice(0, -4);
  return [
    ["plain", canary],
    ...base64,
    ["base64 twice", twice],
    ...cuts(canary).map((part): [string, string] => ["a piece", part]),
    ...base64.flatMap(([, whole]) =>
      cuts(whole).map((part): [string, string] => ["a piece of base64", part]),
    ),
    ["hex", Buffer.from(canary).toString("hex")],
    ["reverse", [...canary].reverse().join("")],
    [
      "escapes",
      [...canary].map((one) => `\\u${one.charCodeAt(0).toString(16).padStart(4, "0")}`).join(""),
    ],
  ];
}

const CUT = 14;

/** Beginning, middle and end, long enough to be nobody else's. */
function cuts(text: string): string[] {
  const middle = Math.floor((text.length - CUT) / 2);
  return [text.slice(0, CUT), text.slice(middle, middle + CUT), text.slice(-CUT)];
}

/** The body without the lengths between its chunks (RFC 9112 section 7.1), behind its head. */
function joined(answer: Buffer): Buffer {
  const end = answer.indexOf("\r\n\r\n");
  const head = answer.subarray(0, end + 4);
  if (end < 0 || !/^transfer-encoding: *chunked/im.test(head.toString("latin1"))) return answer;
  const parts = [head];
  for (let at = head.length; at < answer.length; ) {
    const line = answer.indexOf("\r\n", at);
    const length = Number.parseInt(answer.toString("latin1", at, line), 16);
    if (line < 0 || !(length > 0)) break;
    parts.push(answer.subarray(line + 2, line + 2 + length));
    at = line + 4 + length;
  }
  return Buffer.concat(parts);
}

function inflated(answer: Buffer): string {
  const at = answer.indexOf(Buffer.of(0x1f, 0x8b, 0x08));
  if (at < 0) return "";
  try {
    return gunzipSync(answer.subarray(at)).toString("latin1");
  } catch {
    return "";
  }
}
