import assert from "node:assert/strict";
import test from "node:test";
import { createTestAccess, engineer, policy, subject } from "../../access/access.fixture.ts";
import { loadGrammars } from "../../command/load-grammars.ts";
import { askSshDryRun } from "./dry-run.ts";

const { access } = createTestAccess(
  policy(`
@id("connects") permit (principal, action == Custody::Action::"connect", resource);
@id("looks") permit (principal, action in SSH::Action::"data", resource);
@id("masked") @mask("pii.card") permit (principal, action == SSH::Action::"exec", resource)
when { resource.program == "cat" };
@id("waits") @approvers("corp/dba") @quorum("1")
forbid (principal, action == SSH::Action::"exec", resource)
when { resource.program == "touch" } unless { context.approved };
`),
);
const grammars = loadGrammars();

function ask(line: string, declared = true, detect = true) {
  return askSshDryRun(
    { access, grammars },
    { ...subject([engineer]), target: "web-1", account: "deploy" },
    {
      ...{ protocol: "ssh", name: "web-1", host: "h", port: 22, tags: {} },
      ...{ hostKeys: [], hostAuthorities: [], hostNames: [] },
      accounts: [
        {
          ...{ name: "deploy", user: "deploy", shell: declared ? "bash" : undefined },
          credential: { kind: "certificate", principals: ["deploy"], sourceAddress: undefined },
        },
      ],
      ...(detect ? { detect: [{ class: "pii.card", kind: "card-number" } as const] } : {}),
    },
    line,
  );
}

function why(asked: ReturnType<typeof ask>): string {
  return asked.decision.verdict === "deny" ? asked.decision.denial.message : "";
}

test("what a line would come to, without a session", () => {
  assert.equal(ask("uptime").decision.verdict, "permit");
  assert.equal(ask("touch /tmp/x").decision.verdict, "hold");
  const masked = ask("cat /tmp/x").decision;
  assert.deepEqual(masked.verdict === "permit" && masked.permit.obligations.mask, ["pii.card"]);
});

test("why it would be refused, in the words a session uses", () => {
  assert.match(why(ask('echo "$(id)"')), /\$\(|substitution/);
  assert.match(why(ask("python3 -c 'print(1)'")), /no policy permits it/);
  assert.match(why(ask("uptime", false)), /login shell .* not declared/);
  assert.match(why(ask("cat /tmp/x", true, false)), /does not detect/);
  assert.match(why(ask("cat /tmp/x && scp -f /tmp/x")), /sends more than text/);
});
