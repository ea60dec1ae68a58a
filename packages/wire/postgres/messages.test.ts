import assert from "node:assert/strict";
import test from "node:test";
import {
  BACKEND,
  decodeErrorFields,
  decodeNegotiateProtocolVersion,
  decodeRowDescription,
  errorResponse,
  isBackendType,
  negotiateProtocolVersion,
  noticeResponse,
  rowDescription,
  textColumn,
} from "./backend.ts";
import {
  decodeExecute,
  decodeParse,
  decodeQuery,
  FRONTEND,
  isFrontendType,
  missingPortalExecute,
  poisonedParse,
  poisonedQuery,
  query,
} from "./frontend.ts";

test("an error carries every field it is given, its severity twice, and no others", () => {
  const frame = errorResponse({
    severity: "ERROR",
    code: "42501",
    message: "Custody denied drop on table public.orders",
    detail: "Policy p.",
    hint: undefined,
    position: 12,
    constraint: "c",
  });
  assert.deepEqual(Object.fromEntries(decodeErrorFields(frame, 0, frame.length)), {
    S: "ERROR",
    V: "ERROR",
    C: "42501",
    M: "Custody denied drop on table public.orders",
    D: "Policy p.",
    P: "12",
    n: "c",
  });
});

test("an error goes out whatever its text holds", () => {
  const frame = noticeResponse({ severity: "NOTICE", code: "00000", message: "a\0b\ud800c" });
  const fields = decodeErrorFields(frame, 0, frame.length);
  assert.equal(fields.get("M"), "a\ufffdb\ufffdc");
});

test("a text that would end early is not encoded", () => {
  assert.throws(() => query("select 1\0; drop table t"), { code: "syntax" });
  assert.throws(() => query("select '\udc00'"), { code: "syntax" });
});

test("a poison is an unterminated comment, and no id can end it", () => {
  const parsed = poisonedParse("s", "r-7f3k");
  assert.deepEqual(decodeParse(parsed, 0, parsed.length), {
    name: "s",
    text: "/* custody denied r-7f3k",
    parameterTypes: [],
  });
  const queried = poisonedQuery("r-7f3k");
  assert.equal(decodeQuery(queried, 0, queried.length).text, "/* custody denied r-7f3k");
  const executed = missingPortalExecute("r-7f3k");
  assert.equal(decodeExecute(executed, 0, executed.length).portal, "custody denied r-7f3k");
  for (const id of ["", "*/ drop table t", "r 1", "r-1\0", "r".repeat(41)]) {
    assert.throws(() => poisonedParse("s", id), { code: "syntax" });
    assert.throws(() => poisonedQuery(id), { code: "syntax" });
    assert.throws(() => missingPortalExecute(id), { code: "syntax" });
  }
});

test("the protocol version is sent as servers send it", () => {
  const frame = negotiateProtocolVersion(2, ["_pq_.a", "_pq_.b"]);
  assert.equal(frame.readUInt32BE(5), 0x00030002);
  assert.deepEqual(decodeNegotiateProtocolVersion(frame, 0, frame.length), {
    minor: 2,
    unrecognized: ["_pq_.a", "_pq_.b"],
  });
});

test("types are told apart by direction", () => {
  const frontend = new Set<number>(Object.values(FRONTEND));
  const backend = new Set<number>(Object.values(BACKEND));
  assert.equal(frontend.size, 14);
  assert.equal(backend.size, 24);
  for (let type = 0; type < 256; type++) {
    assert.equal(isFrontendType(type), frontend.has(type));
    assert.equal(isBackendType(type), backend.has(type));
  }
});

test("a column of the gateway's own is text of no table", () => {
  const frame = rowDescription([textColumn("plan")]);
  const [column] = decodeRowDescription(frame, 0, frame.length);
  assert.deepEqual(column, textColumn("plan"));
  assert.equal(column?.typeOid, 25);
  assert.equal(column?.tableOid, 0);
});
