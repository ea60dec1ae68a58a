// Debian's ssh as the client of our server.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createHash, generateKeyPairSync, randomBytes } from "node:crypto";
import { once } from "node:events";
import { readFileSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import test from "node:test";
import { parseCertificate, signCertificate, verifyCertificate } from "./certificate.ts";
import { CIPHERS, MACS } from "./ciphers.ts";
import { parsePublicKeyLine, publicKeyBlob, publicKeyLine, signBlob } from "./keys.ts";
import {
  clientKeyFile,
  ed25519,
  keygen,
  lacking,
  OPENSSH_CLIENT,
  runProcess,
  ssh,
  startServer,
  type TestServer,
  type TestServerOptions,
  testFolder,
} from "./peer-harness.ts";

const digest = (bytes: Buffer): string => createHash("sha256").update(bytes).digest("hex");
const HOST = "127.0.0.1";
const skip = lacking(...OPENSSH_CLIENT);

interface Test {
  after(end: () => void): void;
}

async function served(
  t: Test,
  wanted: Partial<TestServerOptions> = {},
): Promise<{ server: TestServer; folder: string; identity: string }> {
  const folder = testFolder(t);
  const server = await startServer({ hostKeys: [{ privateKey: ed25519() }], ...wanted });
  t.after(() => server.close());
  return { server, folder, identity: clientKeyFile(folder) };
}

test("output, errors, exit status and signal of a command", { skip }, async (t) => {
  const { server, identity } = await served(t);
  const run = await ssh(
    server.port,
    identity,
    [HOST, "cat; echo err >&2; exit 7"],
    Buffer.from("in"),
  );
  assert.equal(run.status, 7, run.stderr);
  assert.equal(run.stdout.toString(), "in");
  assert.match(run.stderr, /err/);
  const killed = await ssh(server.port, identity, [HOST, "kill -TERM $$"]);
  assert.equal(killed.status, 255);
});

const INPUT = randomBytes(3 << 20);

for (const { name } of CIPHERS) {
  test(`cipher ${name}, new keys every 64 KB, data both ways`, { skip }, async (t) => {
    const { server, identity } = await served(t);
    const options = ["-c", name, "-o", "RekeyLimit=64K"];
    const run = await ssh(server.port, identity, [...options, HOST, "cat"], INPUT);
    assert.equal(run.status, 0, run.stderr);
    assert.equal(digest(run.stdout), digest(INPUT));
    const keyed = server.events.filter(({ kind }) => kind === "keyed");
    assert.ok(keyed.length > 10, `${keyed.length} exchanges`);
    for (const event of keyed) {
      assert.ok(event.kind === "keyed");
      assert.deepEqual(
        [event.negotiated.sent.cipher, event.negotiated.received.cipher],
        [name, name],
      );
      assert.equal(event.negotiated.strict, true);
    }
  });
}

for (const { name } of MACS) {
  test(`MAC ${name}`, { skip }, async (t) => {
    const { server, identity } = await served(t);
    const options = ["-c", "aes128-ctr", "-m", name];
    const run = await ssh(server.port, identity, [...options, HOST, "cat"], INPUT);
    assert.equal(run.status, 0, run.stderr);
    assert.equal(digest(run.stdout), digest(INPUT));
    const event = server.events.find(({ kind }) => kind === "keyed");
    assert.ok(event?.kind === "keyed" && event.negotiated.sent.mac === name);
  });
}

for (const name of [
  "curve25519-sha256",
  "curve25519-sha256@libssh.org",
  "ecdh-sha2-nistp256",
  "ecdh-sha2-nistp384",
  "ecdh-sha2-nistp521",
  "diffie-hellman-group14-sha256",
  "diffie-hellman-group16-sha512",
]) {
  test(`key exchange ${name}`, { skip }, async (t) => {
    const { server, identity } = await served(t);
    for (let time = 0; time < 3; time++) {
      const options = ["-o", `KexAlgorithms=${name}`];
      const run = await ssh(server.port, identity, [...options, HOST, "echo ok"]);
      assert.equal(run.stdout.toString(), "ok\n", run.stderr);
    }
    const event = server.events.find(({ kind }) => kind === "keyed");
    assert.ok(event?.kind === "keyed" && event.negotiated.kex === name);
  });
}

test("host keys of each type, with the signature asked for", { skip }, async (t) => {
  const hostKeys = [
    { privateKey: ed25519() },
    { privateKey: generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey },
    { privateKey: generateKeyPairSync("ec", { namedCurve: "P-521" }).privateKey },
    { privateKey: generateKeyPairSync("rsa", { modulusLength: 3072 }).privateKey },
  ];
  const { server, identity } = await served(t, { hostKeys });
  const types = ["ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp521"];
  for (const name of [...types, "rsa-sha2-512", "rsa-sha2-256"]) {
    const run = await ssh(server.port, identity, ["-o", `HostKeyAlgorithms=${name}`, HOST, "true"]);
    assert.equal(run.status, 0, run.stderr);
  }
  const none = await ssh(server.port, identity, [
    "-o",
    "HostKeyAlgorithms=ecdsa-sha2-nistp384",
    HOST,
    "true",
  ]);
  assert.equal(none.status, 255);
  const last = server.events.at(-1);
  assert.ok(last?.kind === "failed" && last.error.code === "negotiation");
});

test("a host certificate is trusted through its authority, and nobody is asked", {
  skip,
}, async (t) => {
  const authority = ed25519();
  const hostKey = generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey;
  const now = BigInt(Math.floor(Date.now() / 1000));
  const sign = (principal: string): Promise<Buffer> =>
    signCertificate(
      {
        publicKey: publicKeyBlob(hostKey),
        nonce: randomBytes(32),
        serial: 1n,
        role: "host",
        keyId: "gateway",
        principals: [principal],
        validAfter: now - 60n,
        validBefore: now + 60n,
        criticalOptions: [],
        extensions: [],
      },
      {
        publicKey: publicKeyBlob(authority),
        sign: (data) => signBlob(authority, "ssh-ed25519", data),
      },
    );
  for (const [principal, status] of [
    [HOST, 0],
    ["elsewhere", 255],
  ] as const) {
    const hostKeys = [{ privateKey: hostKey, certificate: await sign(principal) }];
    const { server, identity, folder } = await served(t, { hostKeys });
    const known = join(folder, "known_hosts");
    writeFileSync(known, `@cert-authority * ${publicKeyLine(publicKeyBlob(authority))}\n`);
    const options = ["-o", "StrictHostKeyChecking=yes", "-o", `UserKnownHostsFile=${known}`];
    const args = [...options, "-F", "none", "-p", String(server.port), "-i", identity];
    const run = await runProcess("ssh", [...args, "-o", "BatchMode=yes", HOST, "true"]);
    assert.equal(run.status, status, run.stderr);
  }
});

for (const type of ["ed25519", "ecdsa", "rsa"]) {
  test(`a user logs in with a ${type} key and with a certificate of it`, { skip }, async (t) => {
    const { server, folder } = await served(t);
    const path = clientKeyFile(folder, `${type}`);
    const plain = await ssh(server.port, path, [HOST, "echo in"]);
    assert.equal(plain.stdout.toString(), "in\n", plain.stderr);
    const authority = join(folder, "authority");
    keygen(authority, "ed25519");
    const sign = await runProcess("ssh-keygen", [
      ...["-q", "-s", authority, "-I", "id", "-n", "web", "-V", "+1h"],
      ...["-O", "critical:delegation@custody=d-1", `${path}.pub`],
    ]);
    assert.equal(sign.status, 0, sign.stderr);
    server.events.length = 0;
    const options = ["-o", `CertificateFile=${path}-cert.pub`];
    const certified = await ssh(server.port, path, [...options, HOST, "echo in"]);
    assert.equal(certified.stdout.toString(), "in\n", certified.stderr);
    const proved = server.events.find(
      (event) => event.kind === "auth-request" && event.attempt.method === "publickey",
    );
    assert.ok(proved?.kind === "auth-request" && proved.attempt.method === "publickey");
    const authorities = [parsePublicKeyLine(readFileSync(`${authority}.pub`, "utf8"))];
    const verdict = verifyCertificate(parseCertificate(proved.attempt.key), {
      role: "user",
      principal: "web",
      authorities,
      nowSeconds: Date.now() / 1000,
      criticalOptions: ["delegation@custody"],
    });
    assert.ok(verdict.valid);
    assert.deepEqual(verdict.certificate.criticalOptions, [
      { name: "delegation@custody", value: "d-1" },
    ]);
  });
}

test("a client that signs with nothing but rsa-sha2-512 gets in", { skip }, async (t) => {
  const { server, folder } = await served(t);
  const path = clientKeyFile(folder, "rsa");
  const options = ["-o", "PubkeyAcceptedAlgorithms=rsa-sha2-512"];
  const run = await ssh(server.port, path, [...options, HOST, "echo in"]);
  assert.equal(run.stdout.toString(), "in\n", run.stderr);
  const sha1 = ["-o", "PubkeyAcceptedAlgorithms=ssh-rsa"];
  assert.equal((await ssh(server.port, path, [...sha1, HOST, "echo in"])).status, 255);
});

test("a reader that stops ends an endless command (eow@openssh.com)", { skip }, async (t) => {
  const { server, identity, folder } = await served(t);
  const port = String(server.port);
  const script = join(folder, "run.sh");
  const base = `ssh -F none -p ${port} -i ${identity} -o BatchMode=yes -o LogLevel=ERROR`;
  const known = "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null";
  writeFileSync(script, `${base} ${known} ${HOST} yes | head -1\n`);
  const run = await runProcess("timeout", ["20", "sh", script]);
  assert.equal(run.status, 0, run.stderr);
  assert.equal(run.stdout.toString(), "y\n");
  assert.ok(
    server.events.some(
      (event) => event.kind === "channel-request" && event.request.kind === "eow@openssh.com",
    ),
  );
});

test("command bytes arrive as they are, valid UTF-8 or not", { skip }, async (t) => {
  const { server, identity, folder } = await served(t);
  const script = join(folder, "run.sh");
  const base = `ssh -F none -p ${server.port} -i ${identity} -o BatchMode=yes -o LogLevel=ERROR`;
  const known = "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null";
  const odd = Buffer.from([0xff, 0xc3, 0x28, 0xe2, 0x80, 0x8b, 0x01]);
  const line = Buffer.concat([
    Buffer.from(`${base} ${known} ${HOST} ": '`),
    odd,
    Buffer.from(`'"\n`),
  ]);
  writeFileSync(script, line);
  const run = await runProcess("sh", [script]);
  assert.equal(run.status, 0, run.stderr);
  const exec = server.events.find(
    (event) => event.kind === "channel-request" && event.request.kind === "exec",
  );
  assert.ok(exec?.kind === "channel-request" && exec.request.kind === "exec");
  const expected = Buffer.concat([Buffer.from(": '"), odd, Buffer.from("'")]);
  assert.deepEqual(exec.request.command, expected);
});

test("password and keyboard-interactive, and partial success between them", { skip }, async (t) => {
  const asked: string[] = [];
  const { server, folder } = await served(t, {
    handle: (event, { connection }) => {
      if (event.kind === "auth-answers") {
        asked.push(...event.answers.map(String));
        if (asked.length === 1) {
          connection.askKeyboard({
            name: "",
            instruction: "Once more",
            prompts: [
              { text: "a", echo: false },
              { text: "b", echo: true },
            ],
          });
        } else connection.acceptAuth();
        return true;
      }
      if (event.kind !== "auth-request") return false;
      const { attempt } = event;
      if (attempt.method === "password") {
        asked.push(`password ${attempt.password}`);
        asked.length = 0;
        connection.rejectAuth(["keyboard-interactive"], true);
      } else if (attempt.method === "keyboard-interactive") {
        connection.askKeyboard({
          name: "Custody",
          instruction: "Handle?",
          prompts: [{ text: "handle: ", echo: false }],
        });
      } else connection.rejectAuth(["password"]);
      return true;
    },
  });
  const askpass = join(folder, "askpass.sh");
  writeFileSync(askpass, "#!/bin/sh\necho geheim\n", { mode: 0o700 });
  const process = spawn(
    "ssh",
    [
      ...["-F", "none", "-p", String(server.port), "-o", "StrictHostKeyChecking=no"],
      ...["-o", "UserKnownHostsFile=/dev/null", HOST, "echo in"],
    ],
    {
      env: { ...globalThis.process.env, SSH_ASKPASS: askpass, SSH_ASKPASS_REQUIRE: "force" },
      stdio: ["ignore", "pipe", "ignore"],
    },
  );
  let stdout = "";
  process.stdout.on("data", (chunk: Buffer) => {
    stdout += chunk.toString();
  });
  await once(process, "close");
  assert.equal(stdout, "in\n");
  assert.deepEqual(asked, ["geheim", "geheim", "geheim"]);
});

test("thirty sessions over one connection, five at once", { skip }, async (t) => {
  const { server, identity, folder } = await served(t);
  const control = join(folder, "c");
  const master = ["-M", "-S", control, "-o", "ControlPersist=yes", "-f", "-N", HOST];
  assert.equal((await runMaster(server.port, identity, master)).status, 0);
  const runs = await Promise.all(
    Array.from({ length: 5 }, async (_, lane) => {
      for (let index = 0; index < 6; index++) {
        const text = `${lane}-${index}`;
        const run = await runProcess("ssh", ["-F", "none", "-S", control, HOST, `echo ${text}`]);
        assert.equal(run.stdout.toString(), `${text}\n`, run.stderr);
      }
      return 6;
    }),
  );
  assert.equal(
    runs.reduce((sum, one) => sum + one),
    30,
  );
  await runProcess("ssh", ["-S", control, "-O", "exit", HOST]);
  assert.equal(server.connections.length, 1);
});

async function runMaster(port: number, identity: string, args: string[]) {
  const process = spawn(
    "ssh",
    [
      ...["-F", "none", "-p", String(port), "-i", identity, "-o", "BatchMode=yes"],
      ...["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", ...args],
    ],
    { stdio: "ignore" },
  );
  const [status] = (await once(process, "exit")) as [number | null];
  return { status };
}

test("a terminal, its size and the environment", { skip }, async (t) => {
  const { server, identity } = await served(t);
  const options = ["-tt", "-o", "SetEnv=CUSTODY_JUSTIFICATION=why", "-o", "SendEnv=NOTHING"];
  const run = await ssh(server.port, identity, [...options, HOST, "echo in"]);
  assert.equal(run.status, 0, run.stderr);
  const requests = server.events.flatMap((event) =>
    event.kind === "channel-request" ? [event.request] : [],
  );
  const kinds = requests.map(({ kind }) => kind);
  assert.deepEqual(kinds.slice(0, 3), ["pty-req", "env", "exec"]);
  const environment = requests.find((request) => request.kind === "env");
  assert.equal(environment?.name.toString(), "CUSTODY_JUSTIFICATION");
  assert.equal(environment?.value.toString(), "why");
  const terminal = requests.find((request) => request.kind === "pty-req");
  assert.ok(terminal !== undefined && terminal.modes.length > 0);
});

test("direct-tcpip, streamlocal and refused forwardings", { skip }, async (t) => {
  const opens: string[] = [];
  const { server, identity, folder } = await served(t, {
    handle: (event, { connection }) => {
      if (event.kind === "channel-open" && event.open.kind !== "session") {
        opens.push(event.open.kind);
        if (event.open.kind === "direct-tcpip" && event.open.port === 1) {
          connection.refuseChannel(event.channel, 1, "not that one");
          return true;
        }
      }
      if (event.kind === "channel-data") {
        connection.sendData(event.channel, Buffer.concat([Buffer.from("echo "), event.data]));
        connection.consumed(event.channel, event.data.length);
        return true;
      }
      if (event.kind === "channel-eof") {
        connection.closeChannel(event.channel);
        return true;
      }
      return false;
    },
  });
  const through = await ssh(
    server.port,
    identity,
    ["-W", "db.internal:5432", HOST],
    Buffer.from("hi"),
  );
  assert.equal(through.stdout.toString(), "echo hi", through.stderr);
  const refused = await ssh(
    server.port,
    identity,
    ["-W", "db.internal:1", HOST],
    Buffer.from("hi"),
  );
  assert.notEqual(refused.status, 0);
  assert.match(refused.stderr, /not that one/);
  const local = join(folder, "local");
  const forward = ["-o", "ExitOnForwardFailure=yes", "-L", `${local}:/run/x.sock`, "-N", HOST];
  const process = spawn("ssh", [
    ...["-F", "none", "-p", String(server.port), "-i", identity, "-o", "BatchMode=yes"],
    ...["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", ...forward],
  ]);
  t.after(() => process.kill());
  let answer = "";
  for (let attempt = 0; attempt < 100 && answer === ""; attempt++) {
    await new Promise((resolve) => setTimeout(resolve, 50));
    const socket = connect(local);
    socket.write("hi");
    answer = await new Promise<string>((resolve) => {
      socket.once("data", (data) => resolve(data.toString()));
      socket.once("error", () => resolve(""));
      socket.once("close", () => resolve(""));
    });
    socket.destroy();
  }
  assert.equal(answer, "echo hi");
  assert.ok(opens.includes("direct-streamlocal@openssh.com"));
  const remote = await ssh(server.port, identity, [
    ...["-o", "ExitOnForwardFailure=yes", "-R", "0:127.0.0.1:9", HOST, "true"],
  ]);
  assert.notEqual(remote.status, 0);
});

test("ten seconds' worth of waiting input and a late answer lose nothing", { skip }, async (t) => {
  const input = randomBytes(6 << 20);
  let held = 0;
  const parts: Buffer[] = [];
  const { server, identity } = await served(t, {
    handle: (event, driven) => {
      const { connection } = driven;
      if (event.kind === "channel-request" && event.request.kind === "exec") {
        const { channel, reply } = event;
        // Nothing is consumed for a second: the window is all that may come.
        setTimeout(() => {
          held = connection.unconsumedBytes(channel);
          connection.replyChannel(channel, reply!, true);
          connection.consumed(channel, held);
          driven.pump();
        }, 1000);
        return true;
      }
      if (event.kind === "channel-data") {
        parts.push(event.data);
        if (held > 0) connection.consumed(event.channel, event.data.length);
        return true;
      }
      if (event.kind === "channel-eof") {
        connection.requestChannel(event.channel, { kind: "exit-status", status: 3 });
        connection.closeChannel(event.channel);
        return true;
      }
      return false;
    },
  });
  const run = await ssh(server.port, identity, [HOST, "wait"], input);
  assert.equal(run.status, 3, run.stderr);
  assert.equal(held, 2 * 1024 * 1024);
  assert.equal(digest(Buffer.concat(parts)), digest(input));
});
