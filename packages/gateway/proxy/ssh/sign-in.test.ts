import assert from "node:assert/strict";
import test from "node:test";
import { GatewayError } from "../../base/errors.ts";
import { parseDestination } from "./sign-in.ts";
import { denialLines, disconnectText, shown } from "./wording.ts";

test("the user name is [account~]target and nothing else", () => {
  assert.deepEqual(parseDestination("web-1"), { account: undefined, target: "web-1" });
  assert.deepEqual(parseDestination("deploy~web-1"), { account: "deploy", target: "web-1" });
  for (const name of ["", "~", "a~", "~b", "a~b~c", "Web-1", "web 1", "web-1\n", "a/b", "wéb"])
    assert.equal(parseDestination(name), undefined, JSON.stringify(name));
});

test("what clients are shown has no control characters, whoever wrote it", () => {
  const lines = denialLines(
    {
      kind: "forbidden",
      what: "exec on command \x1b]0;evil\x07",
      policyId: "p",
      message: "no\r\nroot# \u202eyes",
      hop: 1,
      hopLabel: "depth 1, agent \x1b[2Jx",
    },
    "r-1",
  );
  const text = shown(lines, false).toString();
  assert.equal(text.split("\n").length, lines.length + 1);
  assert.doesNotMatch(text.replaceAll("\n", ""), /[\p{Cc}\p{Cf}]/u);
  assert.match(shown(lines, true).toString(), /\r\n$/);
});

test("a disconnect says why and what next, in one line", () => {
  const error = new GatewayError("revoked", "the delegation was revoked", {
    hint: "sign in again",
  });
  assert.equal(disconnectText(error), "Custody: the delegation was revoked; sign in again");
});
