import assert from "node:assert/strict";
import { test } from "node:test";

import type { RecordingLine } from "@custody/contract/sessions.ts";
import {
  commandComplete,
  errorResponse,
  readyForQuery,
  rowDescription,
  textColumn,
} from "@custody/wire/postgres/backend.ts";

import { createTranscript } from "./transcript.ts";

const plain = { colour: false, columns: 100 };

function dataRow(values: readonly (Buffer | string | null)[]): Buffer {
  const parts = values.map((value) => {
    const length = Buffer.alloc(4);
    const bytes = value === null ? Buffer.alloc(0) : Buffer.from(value);
    length.writeInt32BE(value === null ? -1 : bytes.length);
    return Buffer.concat([length, bytes]);
  });
  const body = Buffer.concat(parts);
  const head = Buffer.alloc(7);
  head[0] = 0x44;
  head.writeInt32BE(6 + body.length, 1);
  head.writeUInt16BE(values.length, 5);
  return Buffer.concat([head, body]);
}

const base64 = (bytes: Buffer | string) => Buffer.from(bytes).toString("base64");
const command = (t: number, request: string, sql: string, parameters?: (string | null)[]) => ({
  t,
  kind: "command",
  request,
  bytes: base64(sql),
  ...(parameters && { parameters }),
});
const response = (t: number, request: string, bytes: Buffer) => ({
  t,
  kind: "response",
  request,
  bytes: base64(bytes),
});

function render(lines: readonly RecordingLine[], rows = 20): string {
  const transcript = createTranscript(plain, { rows });
  return lines.map((line) => transcript.line(line)).join("") + transcript.end();
}

const ANSWER = Buffer.concat([
  rowDescription([textColumn("id"), textColumn("email")]),
  dataRow(["1", "***@example.com"]),
  dataRow(["2", null]),
  commandComplete("SELECT 2"),
  readyForQuery("I"),
]);

test("a command, its parameters and the rows the client got", () => {
  const text = render([
    { t: 0, kind: "start", data: { target: "orders", chain: "corp/ann > job" } },
    command(12, "r-1", "select id, email\nfrom customers where id < $1", [base64("3"), null]),
    response(15, "r-1", ANSWER),
    { t: 20, kind: "end" },
  ]);
  assert.equal(
    text,
    `target  orders
chain   corp/ann > job

0.012s    select id, email
          from customers where id < $1  r-1
          $1 = 3
          $2 = null
          id | email
          1  | ***@example.com
          2  | null
          SELECT 2
0.020s    the session ended
`,
  );
});

test("an answer that was recorded in pieces reads the same, wherever it was cut", () => {
  const whole = render([command(0, "r-1", "q"), response(1, "r-1", ANSWER)]);
  for (let at = 1; at < ANSWER.length; at++)
    assert.equal(
      render([
        command(0, "r-1", "q"),
        response(1, "r-1", ANSWER.subarray(0, at)),
        response(1, "r-1", ANSWER.subarray(at)),
      ]),
      whole,
      `cut at ${at}`,
    );
});

test("a denial is shown with its detail and hint, and events with their data", () => {
  const text = render([
    command(0, "r-1", "drop table orders"),
    response(
      1,
      "r-1",
      errorResponse({
        severity: "ERROR",
        code: "42501",
        message: "Custody denied drop on table shop.orders",
        detail: "policy no-schema-changes",
        hint: "ask",
      }),
    ),
    { t: 2, kind: "event", request: "r-1", type: "denied", data: { policy: "no-schema-changes" } },
  ]);
  assert.match(text, /ERROR 42501: Custody denied drop on table shop\.orders\n/);
  assert.match(text, /DETAIL: policy no-schema-changes\n {10}HINT: ask\n/);
  assert.match(text, /0\.002s {4}denied {2}policy=no-schema-changes/);
  assert.match(text, /goes on, or was cut off/);
});

test("what was not kept, not shown or not decodable is said", () => {
  const rows = Buffer.concat([1, 2, 3, 4].map((id) => dataRow([String(id)])));
  assert.match(render([response(0, "r-1", rows)], 1), /1\n {10}… 3 more rows/);
  const truncated = { t: 1, kind: "truncated", request: "r-1", length: 9000, sha256: "abc" };
  assert.match(
    render([response(0, "r-1", rows.subarray(0, -3)), truncated]),
    /the answer breaks off here\n {10}… 9000 more bytes/,
  );
  const garbage = Buffer.from([0x44, 0, 0, 0, 8, 0, 9, 0, 0]);
  assert.match(render([response(0, "r-1", garbage)]), /cannot be decoded/);
  assert.match(render([{ t: 0, kind: "new-kind" }]), /a record of kind new-kind/);
});

test("binary values and terminal escapes are shown as what they are", () => {
  const text = render([
    command(0, "r-1", "select '\u001b[2J'"),
    response(
      0,
      "r-1",
      dataRow([Buffer.from([0, 0, 0, 7]), "\u001b[2J", Buffer.from([0xff, 0xfe])]),
    ),
  ]);
  assert.ok(!text.includes("\u001b"));
  assert.match(text, /\\x00000007 \| \\x1b5b324a \| \\xfffe/);
});
