import assert from "node:assert/strict";
import { test } from "node:test";
import Fastify from "fastify";
import type { ApiDeps } from "./deps.ts";
import { createRouter } from "./routing.ts";

test("a field that the contract does not name is not sent, whatever the handler returns", async () => {
  const server = Fastify();
  const router = createRouter(server, {} as ApiDeps);
  const careless = { status: "ok" as const, handleVerifier: "0123" };
  router.anyone("healthz", async () => careless);
  const answer = await server.inject("/healthz");
  assert.deepEqual(answer.json(), { status: "ok" });
  await server.close();
});

test("an endpoint that wants a bearer cannot be routed for anyone", () => {
  const router = createRouter(Fastify(), {} as ApiDeps);
  assert.throws(() => router.anyone("whoami", () => Promise.reject(new Error("unreachable"))), {
    code: "internal",
  });
});
