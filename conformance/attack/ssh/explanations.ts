// What `custody explain` says beforehand about a line is what happens to it.

import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import type { SshCase } from "../../ssh/checks.ts";
import type { SshStage } from "../../ssh/stage.ts";

interface Explained {
  readonly verdict: "permit" | "deny" | "hold";
  readonly effects: readonly string[];
  readonly masked: readonly string[];
  readonly message: string | null;
  readonly requirements: readonly { readonly policyId: string }[];
}

export const EXPLANATIONS: readonly SshCase[] = [
  {
    name: "explain: what is said of a line is what happens to it",
    run: async (stage) => {
      for (const [line, exit] of [
        ["uptime", 0],
        ['echo "$HOME"', 126],
        ["sh -c 'id'", 0],
        ["python3 -c 'print(1)'", 126],
        ["uname", 126],
      ] as const) {
        const said = await explained(stage, line);
        assert.equal(said.verdict, exit === 0 ? "permit" : "deny", line);
        const ran = await stage.ssh("data", [line]);
        assert.equal(ran.code, exit, `${line}: ${ran.stderr}`);
        if (said.message !== null) assert.ok(ran.stderr.includes(said.message), ran.stderr);
      }
    },
  },
  {
    name: "explain: why a line is not literal, who is waited for, what is masked",
    run: async (stage) => {
      const literal = await explained(stage, 'rm -rf "$HOME"');
      assert.match(literal.message ?? "", /\$/);
      assert.deepEqual(literal.effects, []);
      const held = await explained(stage, `touch ${join(stage.folder, "x")}`);
      assert.equal(held.verdict, "hold");
      assert.deepEqual(
        held.requirements.map(({ policyId }) => policyId),
        ["touching-waits"],
      );
      const masked = await explained(stage, `cat ${join(stage.folder, "masked", "x")}`);
      assert.deepEqual([...masked.masked].sort(), ["pii.card", "pii.email"]);
      assert.deepEqual(masked.effects, ["exec on command cat"]);
      const moved = await explained(stage, `scp -f ${join(stage.folder, "masked", "x")}`);
      assert.match(moved.message ?? "", /sends more than text/);
    },
  },
];

/** As the agent that runs what is explained. */
async function explained(stage: SshStage, line: string): Promise<Explained> {
  const home = join(stage.folder, "explains");
  mkdirSync(home, { recursive: true, mode: 0o700 });
  const args = ["explain", line, "--target", "web-1"];
  return (await stage.agent(stage.handles.data, home, args)) as Explained;
}
