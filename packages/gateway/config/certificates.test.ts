import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { X509Certificate } from "node:crypto";
import { once } from "node:events";
import { chmodSync, mkdtempSync, rmSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { connect, createServer } from "node:tls";

import { GatewayError } from "../base/errors.ts";
import { caFiles, createCa, openCa } from "./ca.ts";
import { type CertificatesDeps, certificateHosts, createCertificates } from "./certificates.ts";

const DAY_MS = 86_400_000;
const root = mkdtempSync(join(tmpdir(), "custody-ca-"));
after(() => rmSync(root, { recursive: true }));

let folders = 0;
function folder(): string {
  return join(root, `data-${folders++}`);
}

function deps(dataDirectory: string, more: Partial<CertificatesDeps["config"]> = {}) {
  const clock = { time: Date.now(), nowMs: () => clock.time, monotonicMs: () => 0 };
  const problems: GatewayError[] = [];
  const listen = {
    ssh: undefined,
    kubernetes: undefined,
    postgres: { host: "127.0.0.1", port: 0 },
    https: { host: "gw.example.com", port: 7443 },
    admin: undefined,
  };
  return {
    clock,
    problems,
    config: { dataDirectory, hostnames: ["custody.test"], listen, tls: undefined, ...more },
    onProblem: (error: GatewayError) => void problems.push(error),
  };
}

/** Whether a Node TLS client that trusts `ca` accepts this certificate under `name`. */
async function accepted(tls: { key: string; cert: string }, ca: string, name: string) {
  const server = createServer(tls, (socket) => socket.end());
  server.on("tlsClientError", () => undefined);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  assert.ok(address !== null && typeof address === "object");
  try {
    const socket = connect({ host: "127.0.0.1", port: address.port, ca, servername: name });
    await once(socket, "secureConnect");
    socket.destroy();
    return true;
  } catch {
    return false;
  } finally {
    server.close();
  }
}

test("a certificate is good for every name listened on, and for no other", async () => {
  const given = deps(folder());
  using certificates = await createCertificates(given);
  const tls = certificates.current();
  const leaf = new X509Certificate(tls.cert);
  for (const name of ["gw.example.com", "custody.test", "localhost"])
    assert.ok(await accepted(tls, tls.ca, name), name);
  assert.equal(await accepted(tls, tls.ca, "other.example.com"), false);
  for (const address of ["127.0.0.1", "::1"]) assert.ok(leaf.checkIP(address), address);
  assert.equal(new X509Certificate(tls.ca).fingerprint256, certificates.fingerprint);
  const other = await createCa(folder(), Date.now());
  assert.equal(await accepted(tls, other.certificatePem, "localhost"), false);
});

test("openssl finds the chain good and the CA unable to make further CAs", async (context) => {
  if (spawnSync("openssl", ["version"]).error) return context.skip("openssl is not installed");
  const directory = folder();
  using certificates = await createCertificates(deps(directory));
  const leaf = join(root, "leaf.pem");
  writeFileSync(leaf, certificates.current().cert);
  const { certificate } = caFiles(directory);
  const verified = execFileSync("openssl", [
    ...["verify", "-x509_strict", "-purpose", "sslserver", "-verify_hostname", "localhost"],
    ...["-CAfile", certificate, leaf],
  ]);
  assert.match(verified.toString(), /: OK/);
  const text = execFileSync("openssl", ["x509", "-noout", "-text", "-in", certificate]).toString();
  assert.match(text, /Basic Constraints: critical\s+CA:TRUE, pathlen:0/);
  assert.match(text, /Key Usage: critical\s+Certificate Sign, CRL Sign/);
});

test("the CA's key is for its owner only, and a CA that is there is never replaced", async () => {
  const directory = folder();
  const ca = await createCa(directory, Date.now());
  const files = caFiles(directory);
  assert.equal(statSync(files.key).mode & 0o777, 0o600);
  assert.equal(statSync(join(directory, "ca")).mode & 0o777, 0o700);
  await assert.rejects(createCa(directory, Date.now()), /EEXIST/);
  assert.equal((await openCa(directory, Date.now())).fingerprint, ca.fingerprint);
});

test("a CA that cannot be trusted stops the start", async () => {
  const open = folder();
  await createCa(open, Date.now());
  chmodSync(caFiles(open).key, 0o640);
  await assert.rejects(openCa(open, Date.now()), isConfigurationError(/read by others/));

  const half = folder();
  await createCa(half, Date.now());
  rmSync(caFiles(half).key);
  await assert.rejects(openCa(half, Date.now()), isConfigurationError(/without its other half/));

  const mixed = folder();
  await createCa(mixed, Date.now());
  const other = folder();
  await createCa(other, Date.now());
  writeFileSync(caFiles(mixed).key, execFileSync("cat", [caFiles(other).key]), { mode: 0o600 });
  await assert.rejects(openCa(mixed, Date.now()), isConfigurationError(/cannot be used/));

  await assert.rejects(
    openCa(other, Date.now() + 3700 * DAY_MS),
    isConfigurationError(/cannot be/),
  );
});

test("it is renewed in the last third of its life, by the same CA", async () => {
  const given = deps(folder());
  using certificates = await createCertificates(given);
  const first = certificates.current();
  const seen: string[] = [];
  certificates.onRenew((tls) => seen.push(tls.cert));
  given.clock.time += 19 * DAY_MS;
  assert.equal(await certificates.check(), false);
  given.clock.time += 2 * DAY_MS;
  assert.equal(await certificates.check(), true);
  const second = certificates.current();
  assert.notEqual(second.cert, first.cert);
  assert.equal(second.ca, first.ca);
  assert.deepEqual(seen, [second.cert]);
});

test("the operator's own files are used, read again on change, and kept when the new ones are broken", async () => {
  const ca = await createCa(folder(), Date.now());
  const files = { cert: join(root, "own.crt"), key: join(root, "own.key") };
  let writes = 0;
  const write = async (host: string) => {
    const now = Date.now();
    const issued = await ca.issue({ hosts: [host], notBeforeMs: now, notAfterMs: now + DAY_MS });
    writeFileSync(files.cert, issued.certificatePem + ca.certificatePem);
    writeFileSync(files.key, issued.keyPem);
    utimesSync(files.cert, 1, ++writes);
  };
  await write("one.example.com");
  const given = deps(folder(), { tls: files });
  using certificates = await createCertificates(given);
  const subject = () => new X509Certificate(certificates.current().cert).subject;
  assert.equal(subject(), "CN=one.example.com");
  assert.equal(certificates.fingerprint, ca.fingerprint);
  assert.equal(await certificates.check(), false);
  await write("two.example.com");
  assert.equal(await certificates.check(), true);
  assert.equal(subject(), "CN=two.example.com");
  writeFileSync(files.key, "nonsense");
  assert.equal(await certificates.check(), false);
  assert.equal(subject(), "CN=two.example.com");
  assert.equal(given.problems.length, 1);
});

test("a listener on every address answers to the machine's name, not to 0.0.0.0", () => {
  const { config } = deps(folder());
  const hosts = certificateHosts({
    ...config,
    listen: { ...config.listen, postgres: { host: "0.0.0.0", port: 1 } },
  });
  assert.ok(!hosts.includes("0.0.0.0"));
  assert.equal(new Set(hosts).size, hosts.length);
});

function isConfigurationError(message: RegExp) {
  return (error: unknown) =>
    error instanceof GatewayError && error.code === "configuration" && message.test(error.message);
}
