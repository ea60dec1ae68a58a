// OpenSSH's own regression scripts (Debian's openssh-tests) with their ssh pointed at the gateway, under
// policies that permit everything: `npm run conformance:ssh:suites`, with names of scripts only these.
// scripts.json has every script there is: `pointed`, which have to pass (of `parts` what comes before the loop
// that is named), and `left`, each with the reason why it is not run. A script that is in neither fails, so that another version is looked at. The last line
// is `N passed, N failed, N skipped`.

import { spawnSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openSshKeys } from "@custody/gateway/credential/ssh-keys.ts";
import { publicLine } from "@custody/gateway/proxy/ssh/certificates.ts";
import { SSH_ALGORITHMS } from "@custody/wire/ssh/algorithms.ts";
import { hasSshServer } from "../../support/ssh-server.ts";
import { openSshStage, type SshStage } from "../stage.ts";
import { runScript } from "./run-script.ts";

interface Scripts {
  readonly pointed: readonly string[];
  readonly parts: Readonly<
    Record<string, { readonly before: string; readonly reason: string } | undefined>
  >;
  readonly left: Readonly<Record<string, string>>;
}

const INSTALLED = "/usr/lib/openssh/regress";
/** What scripts share. */
const NO_SCRIPTS = new Set(["test-exec", "scp-ssh-wrapper", "sshd-log-wrapper", "valgrind-unit"]);

const words = process.argv.slice(2);
const scripts = JSON.parse(
  readFileSync(new URL("scripts.json", import.meta.url), "utf8"),
) as Scripts;
const folder = mkdtempSync(join(tmpdir(), "custody-openssh-"));
let [passed, failed, skipped] = [0, 0, 0];
try {
  const regress = hasSshServer() ? regressFolder() : undefined;
  if (regress === undefined) {
    console.log(
      "skipped  everything: there is no sshd here, or Debian's openssh-tests cannot be had",
    );
    skipped = scripts.pointed.length;
  } else await run(regress);
} finally {
  rmSync(folder, { recursive: true, force: true });
}
console.log(`\n${passed} passed, ${failed} failed, ${skipped} skipped`);
process.exitCode = failed === 0 ? 0 : 1;

async function run(regress: string): Promise<void> {
  const found = readdirSync(regress)
    .filter((name) => name.endsWith(".sh"))
    .map((name) => name.slice(0, -3))
    .filter((name) => !NO_SCRIPTS.has(name));
  const unknown = found.filter(
    (name) => !scripts.pointed.includes(name) && !(name in scripts.left),
  );
  for (const name of unknown) {
    failed += 1;
    console.log(`FAILED   ${name}: it is not in scripts.json`);
  }
  const policies = readFileSync(new URL("policies.cedar", import.meta.url), "utf8");
  await using stage = await openSshStage({ policies });
  const { certificate } = (await stage.engineer(["ssh-cert"])) as { readonly certificate: string };
  const knownHosts = join(folder, "known_hosts");
  const authority = publicLine(openSshKeys(join(stage.folder, "authority")).hostCa, "custody");
  writeFileSync(knownHosts, `@cert-authority 127.0.0.1 ${authority}\n`);
  const options = [
    ...["ProxyCommand=none", "HostName=127.0.0.1", `Port=${stage.port}`, "User=web-1"],
    ...["HostKeyAlias=127.0.0.1", "GlobalKnownHostsFile=none", `UserKnownHostsFile=${knownHosts}`],
    ...[`IdentityFile=${certificate.replace(/-cert\.pub$/, "")}`, `CertificateFile=${certificate}`],
    ...["IdentitiesOnly=yes", "HostKeyAlgorithms=ssh-ed25519-cert-v01@openssh.com"],
  ].flatMap((option) => ["-o", option]);
  const names = words.length === 0 ? scripts.pointed : words;
  for (const name of names) {
    const started = performance.now();
    const before = await newestSession(stage);
    const ran = await runScript(
      { regress, folder, options, algorithms: SSH_ALGORITHMS },
      { name, before: scripts.parts[name]?.before },
    );
    // A script whose connections went elsewhere says nothing about the gateway.
    const wasThere = (await newestSession(stage)) !== before;
    const result = wasThere ? ran : { passed: false, said: "it never came to the gateway" };
    const took = `${Math.round((performance.now() - started) / 1000)} s`;
    if (result.passed) passed += 1;
    else failed += 1;
    console.log(
      result.passed ? `passed   ${name} (${took})` : `FAILED   ${name} (${took})\n${result.said}`,
    );
  }
}

async function newestSession(stage: SshStage): Promise<string | undefined> {
  const { sessions } = (await stage.operator(["sessions"])) as {
    readonly sessions: readonly { readonly id: string }[];
  };
  return sessions[0]?.id;
}

/** Where it is installed, or taken out of the package into the suites' cache. */
function regressFolder(): string | undefined {
  if (existsSync(join(INSTALLED, "test-exec.sh"))) return INSTALLED;
  const cache = join(process.env.CUSTODY_SUITE_CACHE ?? folder, "openssh-tests");
  const place = join(cache, INSTALLED);
  if (existsSync(join(place, "test-exec.sh"))) return place;
  mkdirSync(cache, { recursive: true });
  if (spawnSync("apt-get", ["download", "openssh-tests"], { cwd: cache }).status !== 0)
    return undefined;
  const file = readdirSync(cache).find((name) => name.endsWith(".deb"));
  const unpacked =
    file !== undefined && spawnSync("dpkg-deb", ["-x", file, "."], { cwd: cache }).status === 0;
  return unpacked ? place : undefined;
}
