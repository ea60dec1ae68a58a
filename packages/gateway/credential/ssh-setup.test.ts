import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import test from "node:test";
import type { SshCredential } from "../target/ssh-target.ts";
import type { SshTarget } from "../target/target.ts";
import { sshSetupText } from "./ssh-setup.ts";

function target(credential: SshCredential, shell: "bash" | undefined = "bash"): SshTarget {
  return {
    ...{ protocol: "ssh", name: "web-1", host: "web-1.internal", port: 22, tags: {} },
    ...{ hostKeys: [], hostAuthorities: [], hostNames: [] },
    accounts: [{ name: "deploy", user: "deployer", shell, credential }],
  };
}

const certificate = (principals: readonly string[]): SshCredential => ({
  ...{ kind: "certificate", principals, sourceAddress: undefined },
});

test("every kind of credential gives a script a shell can read, and no other way in", () => {
  for (const credential of [
    certificate(["deployer"]),
    certificate(["deployer", "web"]),
    { kind: "key", key: { from: "env", name: "X" } },
    { kind: "password", password: { from: "env", name: "X" } },
  ] as const) {
    const text = sshSetupText(target(credential), "deploy");
    assert.equal(spawnSync("sh", ["-n"], { input: text }).status, 0, text);
    assert.match(text, /Match User deployer\n[\s\S]*AuthenticationMethods/);
    assert.match(text, /AllowAgentForwarding no/);
  }
});

test("principals of other names need a file that lists them", () => {
  assert.doesNotMatch(sshSetupText(target(certificate(["deployer"])), "deploy"), /Principals/);
  const text = sshSetupText(target(certificate(["web"])), "deploy");
  assert.match(text, /printf '%s\\n' web > (\S+)[\s\S]*AuthorizedPrincipalsFile \1/);
});

test("an account whose shell is not declared, and one that is not there", () => {
  const declared = sshSetupText(target(certificate(["deployer"])), "deploy");
  assert.match(declared, /has to be bash/);
  assert.throws(() => sshSetupText(target(certificate(["x"])), "root"), RangeError);
});
