// Targets that are not there, go away, or are not what they should be: the client is told which target
// and that it was the target, and nothing of our roles and passwords.

import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { createTestAuthority } from "../support/certificates.ts";
import { startPostgres } from "../support/postgres-server.ts";
import type { Group } from "./checks.ts";
import { intentsWithoutEnd } from "./leaves.ts";
import { assertNoInsides } from "./raw-client.ts";
import { type ConnectOptions, hangUp, type Subject, until, type World } from "./world.ts";

interface Refusal {
  readonly code: string | undefined;
  readonly text: string;
}

/** How a session is refused; throws when it is not. */
async function refusal(subject: Subject, options: ConnectOptions): Promise<Refusal> {
  try {
    await hangUp(await subject.connect(options));
  } catch (error) {
    const { code, message, detail, hint } = error as Record<string, string | undefined>;
    return { code, text: [message, detail, hint].filter((one) => one !== undefined).join("\n") };
  }
  throw new Error("it was let in");
}

function assertRefusal(world: World, given: Refusal, code: string, names: RegExp): void {
  assert.equal(given.code, code, given.text);
  assert.match(given.text, names);
  assertNoInsides(given.text);
  for (const secret of Object.values(world.passwords))
    assert.ok(!given.text.includes(secret), "it shows a password");
}

/** A server that answers each connection with `answer` and keeps it open. */
async function stubServer(answer: Buffer): Promise<{ port: number } & AsyncDisposable> {
  const sockets = new Set<import("node:net").Socket>();
  const server: Server = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => undefined);
    socket.once("data", () => socket.write(answer));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("no TCP address");
  return {
    port: address.port,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

export const targets: Group = {
  name: "targets",
  checks: [
    {
      name: "down, silent, no PostgreSQL, no TLS, a wrong certificate, a wrong password, no such database",
      async run(world) {
        await using silent = await stubServer(Buffer.alloc(0));
        await using noTls = await stubServer(Buffer.from("N"));
        await using odd = await stubServer(Buffer.from("HTTP/1.1 400 Bad Request\r\n\r\n"));
        const gone = await stubServer(Buffer.alloc(0));
        await gone[Symbol.asyncDispose]();
        const otherCa = join(world.folder, "other-ca.pem");
        writeFileSync(otherCa, createTestAuthority().cert);
        await using subject = await world.subject({
          limits: { targetConnectTimeout: "2s" },
          targets: [
            world.targetYaml("gone", { port: gone.port }),
            world.targetYaml("silent", { port: silent.port }),
            world.targetYaml("no-tls", { port: noTls.port }),
            world.targetYaml("odd", { port: odd.port }),
            world.targetYaml("wrong-ca", { caFile: otherCa }),
            world.targetYaml("wrong-password", { adminPassword: "not-this-one" }),
          ].join(""),
        });
        const names = ["gone", "silent", "no-tls", "odd", "wrong-ca", "wrong-password"];
        await Promise.all(
          names.map(async (user) =>
            assertRefusal(world, await refusal(subject, { user }), "08006", new RegExp(user)),
          ),
        );
        const nowhere = await refusal(subject, { database: "nowhere" });
        assert.match(nowhere.code ?? "", /^(08006|3D000)$/, nowhere.text);
        assertNoInsides(nowhere.text);
        await hangUp(await subject.connect());
        assert.doesNotMatch(subject.gateway.output(), /not-this-one/);
        await until("no role is left", async () => (await subject.roles()).length === 0);
        assert.ok((await subject.verify()).some(({ event }) => event === "session.refused"));
      },
    },
    {
      name: "stops in the middle of a statement and of a session, is away, and comes back",
      async run(world) {
        await using server = await startPostgres({ databases: ["test"] });
        await server.query(
          "test",
          `create role suite nologin; grant connect on database test to suite;
           create role custody_admin login createrole password '${world.passwords.admin}';
           grant suite to custody_admin with admin option; grant pg_signal_backend to custody_admin`,
        );
        await using subject = await world.subject({
          targets: world.targetYaml("mortal", { port: server.port, caFile: server.caFile ?? "" }),
        });
        const idle = await subject.connect({ user: "mortal" });
        const busy = await subject.connect({ user: "mortal" });
        const ended = new Promise((resolve) => {
          idle.once("error", (error) => resolve((error as { code?: string }).code));
        });
        const running = busy.query("select pg_sleep(60)").catch((error) => error);
        await delay(300);
        await server.stop();
        const error = (await running) as { code?: string; message: string };
        // PostgreSQL's own word on its way down, or ours when it went without one.
        assert.match(error.code ?? "", /^(57P0[123]|08006)$/, error.message);
        assertNoInsides(error.message);
        assert.match(String(await ended), /^(57P0[123]|08006)$/);
        const away = await refusal(subject, { user: "mortal" });
        assertRefusal(world, away, "08006", /mortal/);
        // The other target does not notice.
        await hangUp(await subject.connect());
        await server.start();
        const back = await subject.connect({ user: "mortal" });
        assert.equal((await back.query("select 1 as one")).rows[0].one, 1);
        await hangUp(back);
        await until("no role is left", async () => {
          const rows = await server.query(
            "test",
            "select 1 from pg_roles where rolname like 'custody\\_______\\_%'",
          );
          return rows.length === 0;
        });
        // The log is published once a second.
        await until(
          "every command has an end in the log",
          async () => intentsWithoutEnd(await subject.verify()).length === 0,
        );
      },
    },
    {
      name: "away when the gateway starts: it starts, and says so; roles left there go when it is back",
      async run(world) {
        await using server = await startPostgres({ databases: ["test"] });
        await server.query(
          "test",
          `create role suite nologin; grant connect on database test to suite;
           create role custody_admin login createrole password '${world.passwords.admin}';
           grant suite to custody_admin with admin option; grant pg_signal_backend to custody_admin`,
        );
        await using subject = await world.subject({
          targets: world.targetYaml("late", { port: server.port, caFile: server.caFile ?? "" }),
        });
        await subject.connect({ user: "late" });
        await subject.kill();
        await server.stop();
        await subject.restart();
        assert.match(subject.gateway.output(), /late/);
        assertRefusal(world, await refusal(subject, { user: "late" }), "08006", /late/);
        await server.start();
        await hangUp(await subject.connect({ user: "late" }));
        const left = () =>
          server.query("test", "select 1 from pg_roles where rolname like 'custody\\_______\\_%'");
        await until("the role of the killed run is gone", async () => (await left()).length === 0);
      },
    },
  ],
};
