// Which sed scripts only edit.

import assert from "node:assert/strict";
import { test } from "node:test";
import { onlyEdits } from "./sed-script.ts";

test("scripts that only edit", () => {
  for (const script of [
    ...["p", "1,5p", "$d", "/a/d", "/a/,/b/p", "/a/,+3d", "1~2d", "5q", "/a/!d", "1!G;h;$!d"],
    ...[
      "s/a/b/",
      "s/a/b/g",
      "s|/etc|/usr|2p",
      "s/a\\/b/c/",
      "s/[a-z]*/x/I",
      "y/abc/xyz/",
      "s,a,b,;s#c#d#",
    ],
    ...["/^#/d;/^$/d", "/a/{p;d}", "/a/{\ns/x/y/\n}", "s/[[:space:]]*$//", "=", "l"],
    ...["s/\\(a\\)/\\1/", "/a\\/b/p", "", ";;"],
  ])
    assert.equal(onlyEdits(script), true, script);
});

test("scripts that could do more, or are not understood", () => {
  for (const script of [
    ...[
      "e",
      "1e id",
      "$e",
      "s/a/b/e",
      "s/a/b/ge",
      "s/a/id/eg",
      "w /a",
      "s/a/b/w /a",
      "s/a/b/pw /a",
      "W /a",
    ],
    ...[
      "r /a",
      "R /a",
      "1r/a",
      "/a/e id",
      "/a/{e id\n}",
      "p;e",
      "p\ne id",
      "a text",
      "i\\\ne",
      "c x",
      "b",
      "t x",
    ],
    ...[
      ": a",
      "F",
      "v",
      "s/a/b",
      "s/a",
      "sxaxbx",
      "s\na\nb\n",
      "s/[/]/a/e",
      "s/a/b/\u0065",
      "Qe",
      "q e",
      "y/a/b/e",
    ],
    ...[
      "}e",
      "{e}",
      "1,e",
      "/a",
      "/[/]/e",
      "s/[]/]/x/",
      "\\,a,e",
      "0,/a/e",
      "s/a/b/;;e",
      "s/a/b/ e",
      "p e",
      "p}e",
      "d\te",
    ],
  ])
    assert.equal(onlyEdits(script), false, script);
});
