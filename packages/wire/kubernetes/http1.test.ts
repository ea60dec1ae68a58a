import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { KubernetesWireError } from "./errors.ts";
import { type AnswerHeaders, AnswerReader, headerLine, requestHead } from "./http1.ts";

interface Seen {
  readonly status: number | undefined;
  readonly headers: AnswerHeaders;
  readonly body: string;
  readonly isDone: boolean;
  readonly mayGoOn: boolean;
}

const LIMITS = { maxHeadBytes: 512 };
const OK = "HTTP/1.1 200 OK\r\n";

/** What is read of it in pieces of so many bytes. */
function read(text: string, piece = 1, isHead = false): Seen {
  let status: number | undefined;
  let headers: AnswerHeaders = {};
  let body = "";
  const sink = {
    head(code: number, all: AnswerHeaders) {
      assert.equal(status, undefined, "one head");
      [status, headers] = [code, all];
    },
    data(bytes: Buffer) {
      body += bytes.toString("latin1");
    },
  };
  const reader = new AnswerReader(sink, isHead, LIMITS);
  const bytes = Buffer.from(text, "latin1");
  for (let at = 0; at < bytes.length; at += piece) reader.push(bytes.subarray(at, at + piece));
  const { isDone, mayGoOn } = reader;
  return { status, headers, body, isDone, mayGoOn };
}

const READ: readonly (readonly [what: string, text: string, expected: Partial<Seen>])[] = [
  [
    "a body of a length",
    `${OK}Content-Type: application/json\r\nContent-Length: 5\r\n\r\nab\r\nc`,
    { status: 200, body: "ab\r\nc", isDone: true, mayGoOn: true },
  ],
  ["no body", `${OK}content-length: 0\r\n\r\n`, { body: "", isDone: true, mayGoOn: true }],
  [
    "chunks",
    `${OK}Transfer-Encoding: chunked\r\n\r\n3\r\nab\n\r\nA\r\n0123456789\r\n0\r\n\r\n`,
    { body: "ab\n0123456789", isDone: true, mayGoOn: true },
  ],
  [
    "chunks with trailers",
    `${OK}transfer-encoding: Chunked\r\n\r\n1\r\na\r\n0\r\nx-a: b\r\nx-c: d\r\n\r\n`,
    { body: "a", isDone: true },
  ],
  ["a body that has not ended", `${OK}content-length: 2\r\n\r\na`, { body: "a", isDone: false }],
  [
    "chunks without the last",
    `${OK}transfer-encoding: chunked\r\n\r\n1\r\na\r\n`,
    { body: "a", isDone: false },
  ],
  ["204", "HTTP/1.1 204 No Content\r\n\r\n", { status: 204, body: "", isDone: true }],
  [
    "304, whose length is another's",
    "HTTP/1.1 304 Not Modified\r\ncontent-length: 7\r\n\r\n",
    { status: 304, body: "", isDone: true, mayGoOn: true },
  ],
  ["no reason", "HTTP/1.1 404\r\ncontent-length: 0\r\n\r\n", { status: 404, isDone: true }],
  [
    "what comes before it",
    `HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: a\r\n\r\n${OK}content-length: 1\r\n\r\nx`,
    { status: 200, body: "x", isDone: true },
  ],
  [
    "the last of its connection",
    `${OK}connection: keep-alive, Close\r\ncontent-length: 1\r\n\r\nx`,
    { body: "x", isDone: true, mayGoOn: false },
  ],
];

const REFUSED: readonly (readonly [what: string, text: string])[] = [
  ["another protocol", "HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n"],
  ["no status line", "200 OK\r\ncontent-length: 0\r\n\r\n"],
  ["a status of four digits", "HTTP/1.1 2000 OK\r\ncontent-length: 0\r\n\r\n"],
  ["a status of nobody's", "HTTP/1.1 600 OK\r\ncontent-length: 0\r\n\r\n"],
  ["another protocol agreed on", "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n"],
  ["early answers without end", "HTTP/1.1 100 Continue\r\n\r\n".repeat(9)],
  ["an end that is the connection's", `${OK}content-type: a/b\r\n\r\nabc`],
  ["two lengths", `${OK}content-length: 1\r\ncontent-length: 1\r\n\r\na`],
  ["two lengths in one", `${OK}content-length: 1, 1\r\n\r\na`],
  ["a signed length", `${OK}content-length: +1\r\n\r\na`],
  ["a length that is no number", `${OK}content-length: 0x1\r\n\r\na`],
  ["a length beyond all", `${OK}content-length: ${"9".repeat(16)}\r\n\r\n`],
  ["a length and chunks", `${OK}content-length: 1\r\ntransfer-encoding: chunked\r\n\r\na`],
  ["another coding", `${OK}transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n`],
  ["chunks twice", `${OK}transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n`],
  ["a size that is none", `${OK}transfer-encoding: chunked\r\n\r\nx\r\n`],
  ["no size", `${OK}transfer-encoding: chunked\r\n\r\n\r\n`],
  ["a size with something behind it", `${OK}transfer-encoding: chunked\r\n\r\n1;a=b\r\na\r\n`],
  ["a size without end", `${OK}transfer-encoding: chunked\r\n\r\n${"0".repeat(11)}`],
  ["a chunk longer than its size", `${OK}transfer-encoding: chunked\r\n\r\n1\r\nab\r\n`],
  ["a chunk's end by half", `${OK}transfer-encoding: chunked\r\n\r\n1\r\na\n`],
  ["a trailer that is none", `${OK}transfer-encoding: chunked\r\n\r\n0\r\nx\r\n\r\n`],
  ["trailers without end", `${OK}transfer-encoding: chunked\r\n\r\n0\r\n${"a: b\r\n".repeat(90)}`],
  ["a head without end", OK + "a: b\r\n".repeat(90)],
  ["a folded line", `${OK}a: b\r\n c\r\ncontent-length: 0\r\n\r\n`],
  ["a space before the colon", `${OK}content-length : 0\r\n\r\n`],
  ["a line without a colon", `${OK}content-length\r\n\r\n`],
  ["a bare line feed", `${OK}a: b\ncontent-length: 0\r\n\r\n`],
  ["a bare carriage return", `${OK}a: b\rcontent-length: 0\r\n\r\n`],
  ["a zero byte", `${OK}a: b\0\r\ncontent-length: 0\r\n\r\n`],
  ["more than was asked for", `${OK}content-length: 1\r\n\r\nabHTTP/1.1 200 OK`],
];

describe("answers over HTTP/1.1", () => {
  for (const [what, text, expected] of READ)
    it(`are read: ${what}`, () => {
      for (const piece of [1, 3, text.length]) {
        const seen = read(text, piece);
        const { headers: _, ...rest } = seen;
        assert.deepEqual({ ...rest, ...expected }, rest);
      }
    });

  for (const [what, text] of REFUSED)
    it(`are refused: ${what}`, () => {
      for (const piece of [1, 3, text.length])
        assert.throws(() => read(text, piece), KubernetesWireError);
    });

  it("have their headers by names in lower case, each line of them", () => {
    const { headers } = read(
      `${OK}Warning: 299 - "a"\r\nwarning:299 - "b" \t\r\nAudit-Id:\t x \r\n__proto__: y\r\ncontent-length: 0\r\n\r\n`,
    );
    assert.deepEqual(headers.warning, ['299 - "a"', '299 - "b"']);
    assert.equal(headers["audit-id"], "x");
    assert.equal(Object.getOwnPropertyDescriptor(headers, "__proto__")?.value, "y");
  });

  it("have no body where HEAD was asked", () => {
    const seen = read(`${OK}content-length: 12\r\n\r\n`, 1, true);
    assert.equal(seen.isDone, true);
    assert.equal(seen.body, "");
  });

  it("in chunks of a few bytes are handed on as they came, and large chunks as they are", () => {
    const pieces: number[] = [];
    const sink = { head: () => undefined, data: (bytes: Buffer) => pieces.push(bytes.length) };
    const reader = new AnswerReader(sink, false, LIMITS);
    const head = `${OK}transfer-encoding: chunked\r\n\r\n`;
    reader.push(Buffer.from(`${head}${"1\r\nx\r\n".repeat(5000)}`));
    reader.push(Buffer.from(`${"1\r\nx\r\n".repeat(5000)}`));
    const large = `2000\r\n${"y".repeat(8192)}\r\n`;
    reader.push(Buffer.from(`${large}${large}0\r\n\r\n`));
    assert.deepEqual(pieces, [5000, 5000, 8192, 8192]);
    assert.equal(reader.isDone, true);
  });

  it("are read the same however they are cut", () => {
    const chunk = fc.string({ unit: "binary-ascii", minLength: 1, maxLength: 20 });
    const cuts = fc.array(fc.nat(40), { minLength: 1, maxLength: 30 });
    fc.assert(
      fc.property(fc.array(chunk, { maxLength: 8 }), cuts, (chunks, sizes) => {
        const body = chunks.map((one) => `${one.length.toString(16)}\r\n${one}\r\n`).join("");
        const bytes = Buffer.from(`${OK}transfer-encoding: chunked\r\n\r\n${body}0\r\n\r\n`);
        let got = "";
        const data = (part: Buffer) => {
          got += part.toString("latin1");
        };
        const reader = new AnswerReader({ head: () => undefined, data }, false, LIMITS);
        for (let at = 0, turn = 0; at < bytes.length; turn++) {
          const end = at + (sizes[turn % sizes.length] ?? 0) + 1;
          reader.push(bytes.subarray(at, end));
          at = end;
        }
        assert.equal(got, chunks.join(""));
        assert.equal(reader.isDone, true);
      }),
    );
  });
});

describe("requests over HTTP/1.1", () => {
  it("are their line, their headers and an empty line", () => {
    const lines = headerLine("host", "a:1") + headerLine("impersonate-user", "Erin \xe9");
    assert.equal(
      requestHead("GET", "/api/v1?a=b", lines),
      "GET /api/v1?a=b HTTP/1.1\r\nhost: a:1\r\nimpersonate-user: Erin \xe9\r\n\r\n",
    );
  });

  for (const [name, value] of [
    ["a", "b\r\nc: d"],
    ["a", "b\n"],
    ["a", "\0"],
    ["a", "\u0100"],
    ["a b", "c"],
    ["", "c"],
    ["a:", "c"],
  ] as const)
    it(`are not made with the header ${JSON.stringify([name, value])}`, () => {
      assert.throws(() => headerLine(name, value), KubernetesWireError);
    });

  for (const [method, target] of [
    ["GET /x HTTP/1.1\r\n\r\nGET", "/"],
    ["get", "/"],
    ["GET", "/a b"],
    ["GET", "/a\r\nb"],
    ["GET", "http://other/"],
    ["GET", "/\u0101"],
  ] as const)
    it(`are not made of ${JSON.stringify([method, target])}`, () => {
      assert.throws(() => requestHead(method, target, ""), KubernetesWireError);
    });
});
