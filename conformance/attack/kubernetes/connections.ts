// Attempts that are no single well-formed request: framings of HTTP/1.1 that two readers may read in two ways,
// frames of HTTP/2 as no client sends them, and channels of upgraded connections. Whatever comes back holds no
// canary, no request that was hidden in another reaches the API server, and the door is open afterwards.

import { randomBytes } from "node:crypto";
import { connect, type TLSSocket } from "node:tls";
import type { KubernetesStage } from "../../kubernetes/stage.ts";
import { type Attacked, leaks } from "./attack.ts";
import { HTTP2_ATTEMPTS, PLAIN_REQUEST } from "./http2-frames.ts";

export interface ConnectionsReport {
  readonly checks: number;
  readonly wrong: readonly string[];
}

interface Raw {
  readonly id: string;
  readonly protocol: "h2" | "http/1.1";
  bytes(at: Attacked): readonly Buffer[];
  /** Of what came back; a sentence, or undefined when it is as it must be. */
  wrong?(answer: string): string | undefined;
}

/** No request of ours says this, but within another. */
const HIDDEN = "smuggled";
const WAIT_MS = 30_000;
/** Nothing is waited for after the first answer but what follows it at once. */
const QUIET_MS = 400;
const AT_ONCE = 4;
const SHOP = "/prod/api/v1/namespaces/shop";

/** A request without a credential: the door refuses it, and nothing behind the door ever sees it. */
const inner = `GET ${SHOP}/secrets/${HIDDEN} HTTP/1.1\r\nHost: x\r\nImpersonate-User: system:admin\r\n\r\n`;

function plain(id: string, text: (head: string) => string, wrong?: Raw["wrong"]): Raw {
  return {
    ...{ id: `HTTP/1.1: ${id}`, protocol: "http/1.1" },
    bytes: ({ host, port, token }) => [
      Buffer.from(text(`Host: ${host}:${port}\r\nAuthorization: Bearer ${token}\r\n`), "latin1"),
    ],
    ...(wrong === undefined ? {} : { wrong }),
  };
}

const notDone = (answer: string): string | undefined =>
  /^HTTP\/1\.[01] (2|101)/.test(answer) ? `it is answered: ${answer.slice(0, 200)}` : undefined;

const post = `POST ${SHOP}/configmaps HTTP/1.1\r\n`;
const get = `GET ${SHOP}/secrets/s1 HTTP/1.1\r\n`;
const json = "Content-Type: application/json\r\n";

const FRAMINGS: readonly Raw[] = [
  ...[
    `Content-Length: 4\r\nTransfer-Encoding: chunked\r\n`,
    `Transfer-Encoding: chunked\r\nContent-Length: 4\r\n`,
    `Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n`,
    `Transfer-Encoding: xchunked\r\n`,
    `Transfer-Encoding: chunked, identity\r\n`,
    `Transfer-Encoding : chunked\r\n`,
    `Transfer-Encoding:\x0bchunked\r\n`,
    `Content-Length: 0\r\nContent-Length: ${inner.length}\r\n`,
    `Content-Length: +5\r\n`,
    `Content-Length: 0x5\r\n`,
    `Content-Length: 5, 6\r\n`,
    `Content-Length: 99999999999999999999\r\n`,
  ].map((lengths) =>
    plain(
      `a body of ${JSON.stringify(lengths)}`,
      (head) => `${post}${head}${json}${lengths}\r\n0\r\n\r\n${inner}`,
      notDone,
    ),
  ),
  ...[
    "2\n{}\n0\n\n",
    "2;x=\n\r\n{}\r\n0\r\n\r\n",
    "ffffffffffffffff2\r\n{}\r\n0\r\n\r\n",
    "-2\r\n{}\r\n0\r\n\r\n",
    "2\r\n{}XX0\r\n\r\n",
  ].map((chunks) =>
    plain(
      `chunks ${JSON.stringify(chunks)}`,
      (head) => `${post}${head}${json}Transfer-Encoding: chunked\r\n\r\n${chunks}${inner}`,
      notDone,
    ),
  ),
  plain(
    "claims in trailers",
    (head) =>
      `${post}${head}${json}Connection: close\r\nTrailer: Impersonate-User\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nImpersonate-User: system:admin\r\nAuthorization: Bearer x\r\n\r\n`,
  ),
  plain(
    "a folded header",
    (head) => `${get}${head}X-A: b\r\n Impersonate-User: x\r\n\r\n`,
    notDone,
  ),
  plain(
    "a line that ends in LF",
    (head) => `${get}${head}X-A: b\nImpersonate-User: x\r\n\r\n`,
    notDone,
  ),
  plain(
    "a line that ends in CR",
    (head) => `${get}${head}X-A: b\rImpersonate-User: x\r\n\r\n`,
    notDone,
  ),
  plain("a space before a colon", (head) => `${get}${head}Impersonate-User : x\r\n\r\n`, notDone),
  plain("a zero in a header", (head) => `${get}${head}X-A: \0\r\n\r\n`, notDone),
  plain(
    "an underscore in a claim",
    (head) => `${get}${head}Connection: close\r\nImpersonate_User: x\r\n\r\n`,
  ),
  plain(
    "claims among the hop-by-hop headers",
    (head) => `${get}${head}Connection: close, Impersonate-User, Authorization, Audit-Id\r\n\r\n`,
  ),
  plain(
    "a target in absolute form",
    (head) => `GET https://127.0.0.1${SHOP}/secrets/s1 HTTP/1.1\r\n${head}\r\n`,
    notDone,
  ),
  plain(
    "a target of an authority",
    (head) => `CONNECT 127.0.0.1:443 HTTP/1.1\r\n${head}\r\n${inner}`,
    notDone,
  ),
  plain("a target of a star", (head) => `OPTIONS * HTTP/1.1\r\n${head}\r\n`, notDone),
  plain("HTTP/0.9", () => `GET ${SHOP}/secrets/s1\r\n\r\n`, notDone),
  plain(
    "HTTP/1.0 without a host",
    (head) => `GET ${SHOP}/secrets HTTP/1.0\r\n${head.replace(/^.*\n/, "")}\r\n`,
  ),
  plain("a preface of HTTP/2", () => "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", notDone),
  plain(
    "an expectation nobody meets",
    (head) => `${post}${head}${json}Expect: 200-maybe\r\nContent-Length: 2\r\n\r\n{}`,
    notDone,
  ),
  plain(
    "an expectation, and nothing behind it",
    (head) => `${post}${head}${json}Expect: 100-continue\r\nContent-Length: 0\r\n\r\n${inner}`,
  ),
  plain("ten thousand requests at once", (head) => `${get}${head}\r\n`.repeat(10_000)),
  plain(
    "a body in crumbs",
    (head) =>
      `${post}${head}${json}Transfer-Encoding: chunked\r\n\r\n${"1\r\n \r\n".repeat(100_000)}`,
    notDone,
  ),
  plain("two requests at once", (head) => `${get}${head}\r\n${inner}`),
  plain("two hosts", (head) => `${get}${head}Host: elsewhere\r\n\r\n`),
  plain("two credentials", (head) => `${get}Authorization: Bearer x\r\n${head}\r\n`, notDone),
  plain(
    "headers without an end",
    (head) => `${get}${head}${"X-A: b\r\n".repeat(20_000)}\r\n`,
    notDone,
  ),
  plain(
    "a header as long as a book",
    (head) => `${get}${head}X-A: ${"b".repeat(200_000)}\r\n\r\n`,
    notDone,
  ),
  ...["websocket", "SPDY/3.1", "h2c", "websocket, SPDY/3.1", "TLS/1.3"].flatMap((protocol) =>
    ["secrets/s1", "secrets?watch=1", "pods/web-1/log", "pods/web-1/exec?command=id"].map((path) =>
      plain(
        `${path} upgraded to ${protocol}, a request behind it`,
        (head) =>
          `GET ${SHOP}/${path} HTTP/1.1\r\n${head}Connection: Upgrade\r\nUpgrade: ${protocol}\r\n\r\n${inner}`,
        notDone,
      ),
    ),
  ),
];

const UPGRADE = (protocols: string) =>
  `Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${randomBytes(16).toString("base64")}\r\nSec-WebSocket-Protocol: ${protocols}\r\n`;
const CHANNELS = "v5.channel.k8s.io";

/** What an upgrade is asked with: names that are known, each once. */
const PARAMETERS: readonly Raw[] = [
  "exec?Command=id",
  "exec?command=id&container=web&container=other",
  "exec?command=id&tty=0&tty=1",
  "exec?command=id&user=root",
  "exec",
  "exec?command",
  "exec?command=sh&command=-c&command=%24(id)",
  "exec/?command=%00",
  "exec/x?command=id",
  "attach?command=id",
  "portforward?ports=22&ports=80",
  "portforward?port=22",
].map((query) =>
  plain(
    `parameters ${query}`,
    (head) => `GET ${SHOP}/pods/web-1/${query} HTTP/1.1\r\n${head}${UPGRADE(CHANNELS)}\r\n`,
    (answer) => (answer.includes('"status":"Success"') ? "it ran" : undefined),
  ),
);

const OFFERS: readonly Raw[] = [
  "base64url.bearer.authorization.k8s.io.eA",
  "base64.channel.k8s.io",
  "v4.base64.channel.k8s.io",
  "channel.k8s.io",
  "V5.CHANNEL.K8S.IO",
  "",
].map((protocols) =>
  plain(
    `a WebSocket of ${JSON.stringify(protocols)}`,
    (head) => `GET ${SHOP}/pods/web-1/exec?command=id HTTP/1.1\r\n${head}${UPGRADE(protocols)}\r\n`,
    notDone,
  ),
);

/** Behind the upgrade of a command that is permitted, in one go. */
function channel(id: string, ...frames: readonly Buffer[]): Raw {
  const request = `GET ${SHOP}/pods/web-1/exec?command=cat&stdin=1&stdout=1 HTTP/1.1\r\n`;
  return {
    ...{ id: `channels: ${id}`, protocol: "http/1.1" },
    bytes: ({ host, port, token }) => [
      Buffer.from(
        `${request}Host: ${host}:${port}\r\nAuthorization: Bearer ${token}\r\n${UPGRADE(CHANNELS)}\r\n`,
      ),
      ...frames,
    ],
    wrong: (answer) =>
      answer.includes("forged") || answer.includes('"Success"')
        ? `the command goes on: ${answer.slice(-200)}`
        : undefined,
  };
}

/** A masked frame; the mask is zeros. */
function frame(first: number, payload: Buffer, second = 0x80): Buffer {
  const size = payload.length;
  const head =
    size < 126
      ? Buffer.of(first, second | size)
      : Buffer.of(first, second | 126, size >> 8, size & 0xff);
  return Buffer.concat([head, ...(second === 0 ? [] : [Buffer.alloc(4)]), payload]);
}

const said = (number: number, text: string) =>
  Buffer.concat([Buffer.of(number), Buffer.from(text)]);
const BINARY = 0x82;

const STREAMS: readonly Raw[] = [
  ...[1, 2, 3, 5, 77].map((number) =>
    channel(`written to ${number}`, frame(BINARY, said(number, '{"status":"Success"} forged'))),
  ),
  channel("a frame that is not masked", frame(BINARY, said(0, "forged"), 0)),
  channel("compressed", frame(0xc2, said(0, "forged"))),
  channel("text", frame(0x81, Buffer.from("0forged"))),
  channel("going on from nothing", frame(0x80, said(0, "forged"))),
  channel("a message within a message", frame(0x02, said(0, "")), frame(BINARY, said(0, "forged"))),
  channel("an opcode nobody knows", frame(0x83, said(0, "forged"))),
  channel("a ping in parts", frame(0x09, Buffer.from("forged"))),
  channel(
    "a frame that is all crumbs",
    Buffer.of(BINARY, 0xff, 0, 0, 0, 0, 0, 0x3f, 0, 0, 0, 0, 0, 0),
    ...Array.from({ length: 3000 }, () => Buffer.alloc(1)),
  ),
  channel("a ping too long", frame(0x89, Buffer.alloc(200))),
  channel(
    "a frame as long as anything",
    Buffer.of(BINARY, 0xff, 0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0),
  ),
];

const RAW: readonly Raw[] = [
  ...FRAMINGS,
  ...PARAMETERS,
  ...OFFERS,
  ...STREAMS,
  ...HTTP2_ATTEMPTS.map(
    ({ id, bytes }): Raw => ({ id: `HTTP/2: ${id}`, protocol: "h2", bytes: (at) => [bytes(at)] }),
  ),
];

/** What works, said in the same ways, and what comes of it: the door is open, and attempts get as far as they say. */
const CONTROLS: readonly (readonly [Raw, string])[] = [
  [plain("a request", (head) => `GET /prod/version HTTP/1.1\r\n${head}\r\n`), "gitVersion"],
  [channel("input", frame(BINARY, said(0, "hello"))), "\x01hello"],
  [
    channel("input in parts", frame(0x02, said(0, "he")), frame(0x80, Buffer.from("llo"))),
    "\x01hello",
  ],
  [
    { id: "HTTP/2: a request", protocol: "h2", bytes: (at) => [PLAIN_REQUEST.bytes(at)] },
    '"Secret"',
  ],
];

export async function runConnections(
  stage: KubernetesStage,
  at: Attacked,
  words: readonly string[],
): Promise<ConnectionsReport> {
  const chosen = RAW.filter(
    ({ id }) => words.length === 0 || words.some((one) => id.includes(one)),
  );
  const wrong: string[] = [];
  const left = [...chosen];
  await Promise.all(
    Array.from({ length: AT_ONCE }, async () => {
      for (let raw = left.shift(); raw !== undefined; raw = left.shift()) {
        const answer = await spoken(at, raw);
        const text = answer.toString("latin1");
        for (const sentence of [...leaks(answer, at.canaries), raw.wrong?.(text)])
          if (sentence !== undefined) wrong.push(`${raw.id}: ${sentence}`);
      }
    }),
  );
  const hidden = stage.cluster.audited().filter(({ requestURI }) => requestURI.includes(HIDDEN));
  for (const { requestURI } of hidden) wrong.push(`the API server was asked for ${requestURI}`);
  for (const [raw, word] of CONTROLS) {
    const answer = (await spoken(at, raw, word)).toString("latin1");
    if (!answer.includes(word))
      wrong.push(`${raw.id}: ${word} does not come: ${answer.slice(-300)}`);
  }
  return { checks: chosen.length + 1 + CONTROLS.length, wrong };
}

/** Whatever comes back until the other side ends or falls silent; with a word: until that has come. */
function spoken(at: Attacked, { bytes, protocol }: Raw, word?: string): Promise<Buffer> {
  const { ca, host, port } = at;
  return new Promise((resolve) => {
    const parts: Buffer[] = [];
    const socket: TLSSocket = connect({ host, port, ca, ALPNProtocols: [protocol] }, () => {
      for (const part of bytes(at)) socket.write(part);
    });
    let timer = setTimeout(() => socket.destroy(), WAIT_MS);
    socket.on("data", (part: Buffer) => {
      parts.push(part);
      if (word !== undefined) {
        if (Buffer.concat(parts).includes(word)) socket.destroy();
        return;
      }
      clearTimeout(timer);
      timer = setTimeout(() => socket.destroy(), QUIET_MS);
    });
    socket.on("error", () => undefined);
    socket.on("close", () => {
      clearTimeout(timer);
      resolve(Buffer.concat(parts));
    });
  });
}
