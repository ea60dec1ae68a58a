import assert from "node:assert/strict";
import test from "node:test";
import { Secret } from "../../base/secret.ts";
import type { BegunSignIn } from "../../session/control.ts";
import { DoorCode } from "./door-code.ts";

const CODE = { verificationUri: "https://corp.example/device", userCode: "ABCD", expiresAtMs: 5 };

test("of several providers one is chosen; a name that is none is said to be none, and asked for again", async () => {
  const asked: (string | undefined)[] = [];
  const begun: string[] = [];
  const code = new DoorCode({
    async beginSignIn(provider): Promise<BegunSignIn> {
      asked.push(provider);
      if (provider !== "partner") return { kind: "choose", names: ["corp", "par\x1b[2Jtner"] };
      return { kind: "code", id: "p-1", ...CODE };
    },
    finishSignIn: async (id) => new Secret(`of ${id}`),
    onBegun: (id) => void begun.push(id),
  });
  const first = await code.answered("");
  assert.ok(!(first instanceof Secret));
  assert.equal(first.instruction, "");
  assert.equal(first.prompts[0]?.text, "Sign in with (corp, par?[2Jtner): ");
  const second = await code.answered(`c\u202eorp\x1b]0;${"x".repeat(100)}`);
  assert.ok(!(second instanceof Secret));
  assert.match(second.instruction, /^Custody: nobody signs in with c\?orp\?\]0;x{40,60}… here$/);
  assert.equal(second.prompts.length, 1);
  const third = await code.answered(" partner ");
  assert.ok(!(third instanceof Secret));
  assert.equal(third.prompts.length, 0);
  assert.match(third.instruction, /https:\/\/corp\.example\/device\nwith this code: ABCD\n/);
  const last = await code.answered("");
  assert.ok(last instanceof Secret);
  assert.equal(last.reveal(), "of p-1");
  assert.deepEqual(asked, [undefined, `c\u202eorp\x1b]0;${"x".repeat(100)}`, "partner"]);
  assert.deepEqual(begun, ["p-1"]);
});
