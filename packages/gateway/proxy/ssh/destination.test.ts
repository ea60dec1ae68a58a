import assert from "node:assert/strict";
import test from "node:test";
import { canonicalHost, isPlainSocketPath, isPort } from "./destination.ts";

test("one place has one spelling", () => {
  for (const [text, canonical] of [
    ["db.internal", "db.internal"],
    ["DB.Internal.", "db.internal"],
    ["10.0.0.7", "10.0.0.7"],
    ["::1", "::1"],
    ["0:0:0:0:0:0:0:1", "::1"],
    ["::ffff:7f00:1", "127.0.0.1"],
    ["::FFFF:127.0.0.1", "127.0.0.1"],
    ["0:0:0:0:0:ffff:a00:7", "10.0.0.7"],
    ["2001:DB8:0:0:0:0:0:1", "2001:db8::1"],
  ] as const)
    assert.equal(canonicalHost(text), canonical, text);
});

test("what resolvers take for addresses and is written otherwise, and what is no name, is refused", () => {
  for (const text of [
    ...["127.1", "0x7f.1", "0x7f000001", "2130706433", "0177.0.0.1", "127.0.0.1.", "127.0.0.0x1"],
    ...[
      "fe80::1%eth0",
      "[::1]",
      "",
      ".",
      "a..b",
      "a b",
      "a\n",
      "１27.0.0.1",
      "db:5432",
      "a/b",
      "*",
    ],
    "a".repeat(254),
  ])
    assert.equal(canonicalHost(text), undefined, text);
});

test("sockets by their one path, ports that do not wrap", () => {
  assert.ok(isPlainSocketPath("/run/app.sock"));
  for (const path of ["run/app.sock", "//run/app.sock", "/run/../run/app.sock", "/run/", "/", ""])
    assert.equal(isPlainSocketPath(path), false, path);
  assert.deepEqual([0, 1, 65_535, 65_536, 65_536 + 5432].map(isPort), [
    ...[false, true, true, false, false],
  ]);
});
