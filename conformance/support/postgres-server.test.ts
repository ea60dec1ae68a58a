import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync } from "node:fs";
import test from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import pg from "pg";
import { startPostgres } from "./postgres-server.ts";

test("a server with TLS and passwords, gone without a trace when disposed", async () => {
  let folder: string;
  let pid: number | undefined;
  {
    await using server = await startPostgres({ databases: ["shop"] });
    folder = server.socketFolder;
    pid = server.pid();
    assert.match(server.version, /^18\./);
    const [row] = await server.query(
      "shop",
      "select ssl, version from pg_stat_ssl where pid = pg_backend_pid()",
    );
    assert.deepEqual(row, { ssl: true, version: "TLSv1.3" });
    const [user] = await server.query(
      "shop",
      "select rolpassword from pg_authid where rolname = 'postgres'",
    );
    assert.match(String(user?.rolpassword), /^SCRAM-SHA-256\$/);
    await assert.rejects(connectOnce({ ...server.connection(), password: "wrong" }), /password/);
    await assert.rejects(connectOnce({ ...server.connection(), ssl: false }), /no encryption/);
    await assert.rejects(
      connectOnce({ ...server.connection(), ssl: { ca: "", servername: "localhost" } }),
      /certificate/,
    );
  }
  assert.equal(existsSync(folder), false);
  assert.ok(pid !== undefined);
  assert.equal(isRunning(pid), false);
});

test("stop keeps the data and start brings it back on the same port", async () => {
  await using server = await startPostgres({ tls: false });
  await server.query("postgres", "create table kept (n int); insert into kept values (7)");
  await server.stop();
  await assert.rejects(server.query("postgres", "select 1"), /ECONNREFUSED/);
  await server.start();
  assert.deepEqual(await server.query("postgres", "select n from kept"), [{ n: 7 }]);
});

test("two at once do not get in each other's way", async () => {
  await using first = await startPostgres({ tls: false });
  await using second = await startPostgres({ tls: false, superuser: "root_of_it" });
  assert.notEqual(first.port, second.port);
  assert.deepEqual(await second.query("postgres", "select current_user as name"), [
    { name: "root_of_it" },
  ]);
});

test("when its parent is killed the server ends and its folder goes", async () => {
  const support = fileURLToPath(new URL("./postgres-server.ts", import.meta.url));
  const program = `
    const { startPostgres } = await import(${JSON.stringify(support)});
    const server = await startPostgres();
    console.log(JSON.stringify({ pid: server.pid(), folder: server.socketFolder }));
    setInterval(() => {}, 1000);`;
  const child = spawn(process.execPath, ["--input-type=module-typescript", "-e", program], {
    stdio: ["ignore", "pipe", "inherit"],
    cwd: fileURLToPath(new URL(".", import.meta.url)),
  });
  const [line] = await once(child.stdout, "data");
  const { pid, folder } = JSON.parse(String(line));
  assert.ok(isRunning(pid));
  child.kill("SIGKILL");
  await until(() => !isRunning(pid) && !existsSync(folder));
});

test("nothing of our own environment reaches the server", async () => {
  process.env.CUSTODY_TEST_MARKER = "seen";
  await using server = await startPostgres({ tls: false });
  delete process.env.CUSTODY_TEST_MARKER;
  const pid = server.pid();
  const file = `/proc/${pid}/environ`;
  if (!existsSync(file)) return;
  assert.doesNotMatch(readFileSync(file, "latin1"), /CUSTODY_TEST_MARKER/);
});

async function connectOnce(options: pg.ClientConfig): Promise<void> {
  const client = new pg.Client(options);
  await client.connect();
  await client.end();
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

async function until(condition: () => boolean): Promise<void> {
  const deadline = Date.now() + 15_000;
  while (!condition()) {
    if (Date.now() > deadline) assert.fail("it did not come to pass within 15 s");
    await delay(50);
  }
}
