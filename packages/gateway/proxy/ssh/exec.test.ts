import assert from "node:assert/strict";
import test from "node:test";
import type { Operation } from "../../access/operation.ts";
import { loadGrammars } from "../../command/load-grammars.ts";
import { readExec } from "./exec.ts";

const grammars = loadGrammars();
const site = { target: "web-1", account: "deploy" };

/** `mayCode`: whether policies let this session run what nobody reads. */
function read(line: string, { mayCode = false, declared = true } = {}) {
  const judge = { mayBe: (operation: Operation) => mayCode && hasCode(operation) };
  const { operation, line: sent } = readExec(
    { grammars, site, shell: declared ? "bash" : undefined, judge: judge as never },
    Buffer.from(line),
  );
  return { operation, sent: sent.toString() };
}

function hasCode({ effects }: Operation): boolean {
  return effects.every(({ action }) => action === "ssh:exec_code");
}

test("what is read goes on as quoted words, each simple command an effect", () => {
  const { operation, sent } = read('systemctl  "status" nginx | grep -c active');
  assert.equal(sent, "'systemctl' 'status' 'nginx' | 'grep' '-c' 'active'");
  assert.ok("effects" in operation);
  assert.deepEqual(
    operation.effects.map(({ action, resource }) => [action, resource.path]),
    [
      ["ssh:exec", "systemctl status nginx"],
      ["ssh:exec", "grep -c active"],
    ],
  );
});

test("a line's words are in what policies read, and never in an id, which the log has", () => {
  const { operation } = read("grep hunter2 /etc/app.conf");
  assert.ok("effects" in operation);
  const [effect] = operation.effects;
  assert.equal(effect?.resource.id, "web-1/deploy/grep");
  assert.deepEqual(effect?.resource.attributes?.arguments, ["hunter2", "/etc/app.conf"]);
  assert.doesNotMatch(`${operation.summary} ${effect?.resource.label}`, /hunter2/);
});

test("what is not literal, goes on by itself, or has no declared shell is nobody's without code", () => {
  for (const line of ["echo $HOME", "sleep 60 &", "a=$(id)", "cat <<x\n$y\nx", "f() { id; }; f"]) {
    const { operation } = read(line);
    assert.ok("kind" in operation && operation.kind === "unknown", line);
  }
  const { operation } = read("id", { declared: false });
  assert.ok("kind" in operation && /login shell/.test(operation.message));
});

test("who may run code has such a line sent as it is, as one effect", () => {
  const { operation, sent } = read("for i in 1 2; do echo $i; done", { mayCode: true });
  assert.equal(sent, "for i in 1 2; do echo $i; done");
  assert.ok("effects" in operation);
  assert.deepEqual(
    operation.effects.map(({ action }) => action),
    ["ssh:exec_code"],
  );
});

test("who may run code is still judged word by word where a line can be read", () => {
  const { operation, sent } = read("rm -rf /srv", { mayCode: true });
  assert.equal(sent, "'rm' '-rf' '/srv'");
  assert.ok("effects" in operation);
  assert.equal(operation.effects[0]?.action, "ssh:exec");
});

test("the host's side of scp, rsync and git is judged as files too", () => {
  const effects = (line: string) => {
    const { operation } = read(line);
    assert.ok("effects" in operation, line);
    return operation.effects.map(({ action, resource }) => `${action} ${resource.path}`);
  };
  assert.deepEqual(effects("scp -t /srv/in"), [
    "ssh:exec scp -t /srv/in",
    "ssh:sftp_write /srv/in",
  ]);
  assert.deepEqual(effects("scp -f /srv/out"), [
    "ssh:exec scp -f /srv/out",
    "ssh:sftp_read /srv/out",
  ]);
  assert.deepEqual(
    effects("git-upload-pack '/srv/git/shop.git'").at(-1),
    "ssh:sftp_read /srv/git/shop.git",
  );
  // A path that starts anywhere else is somewhere in the account.
  assert.deepEqual(effects("scp -t in").at(-1), "ssh:sftp_write deploy");
});
