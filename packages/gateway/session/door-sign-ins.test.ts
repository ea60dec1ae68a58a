import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import test from "node:test";
import { systemClock } from "../base/clock.ts";
import { systemRandom } from "../base/ids.ts";
import { Secret } from "../base/secret.ts";
import type { Provider } from "../config/config.ts";
import type { Chain } from "../delegation/chain.ts";
import { createDoorSignIns } from "./door-sign-ins.ts";

test("of several providers a person chooses; a name that is none is asked for again", async () => {
  await using stage = await startStage(["corp", "partner", "robots"]);
  const choice = { kind: "choose", names: ["corp", "partner"] };
  assert.deepEqual(await stage.doors.begin(undefined), choice);
  for (const name of ["robots", "CORP", "", "corp ", "__proto__"])
    assert.deepEqual(await stage.doors.begin(name), choice, name);
  const begun = await stage.doors.begin("partner");
  assert.ok(begun.kind === "code");
  assert.equal(begun.userCode, "partner-code");
});

test("one provider needs no choice, and none at all says what else would do", async () => {
  await using one = await startStage(["corp", "robots"]);
  assert.equal((await one.doors.begin(undefined)).kind, "code");
  assert.equal((await one.doors.begin("nobody")).kind, "code");
  await using none = await startStage(["robots"]);
  await assert.rejects(none.doors.begin(undefined), {
    code: "unauthenticated",
    hint: "bring a handle or token: custody token",
  });
});

test("so many sign in at a time and no more, those whose provider has not answered included", async () => {
  await using stage = await startStage(["corp"]);
  const begun = await Promise.allSettled(
    Array.from({ length: 100 }, () => stage.doors.begin(undefined)),
  );
  const refused = begun.filter((one) => one.status === "rejected" && one.reason.code === "limit");
  assert.equal(refused.length, 36);
  for (const one of begun)
    if (one.status === "fulfilled" && one.value.kind === "code") stage.doors.end(one.value.id);
  assert.equal((await stage.doors.begin(undefined)).kind, "code");
});

test("who leaves while the token is exchanged leaves no delegation behind", async () => {
  await using stage = await startStage(["corp"]);
  const begun = await stage.doors.begin(undefined);
  assert.ok(begun.kind === "code");
  const exchanging = stage.whenExchanging(() => stage.doors.end(begun.id));
  await assert.rejects(stage.doors.finish(begun.id), { code: "unauthenticated" });
  await exchanging;
  assert.deepEqual(stage.revoked, ["chain of token"]);
  await assert.rejects(stage.doors.finish(begun.id), { code: "unauthenticated" });
});

test("what came of it is revoked when its connection ends, once", async () => {
  await using stage = await startStage(["corp"]);
  const begun = await stage.doors.begin(undefined);
  assert.ok(begun.kind === "code");
  assert.equal((await stage.doors.finish(begun.id)).reveal(), "handle of token");
  assert.deepEqual(stage.revoked, []);
  stage.doors.end(begun.id);
  stage.doors.end(begun.id);
  assert.deepEqual(stage.revoked, ["chain of token"]);
});

/** Providers that agree at once; "robots" has no sign-in with a code. */
async function startStage(names: readonly string[]) {
  const server = createServer((request, response) => {
    request.resume();
    const [, name = "", what = ""] = (request.url ?? "").split("/");
    const issuer = `${base}/${name}`;
    const answers: Record<string, unknown> = {
      ".well-known": {
        issuer,
        device_authorization_endpoint: `${issuer}/device`,
        token_endpoint: `${issuer}/token`,
      },
      device: {
        ...{ device_code: "d", user_code: `${name}-code`, interval: 1 },
        verification_uri: `${issuer}/enter`,
      },
      token: { id_token: "token" },
    };
    response.end(JSON.stringify(answers[what]));
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const providers = names.map(
    (name): Provider => ({
      ...{ name, issuer: `${base}/${name}`, audience: "custody", clientId: undefined },
      ...{ kind: "users", username: "name", groups: "groups", algorithms: ["ES256"] },
      ...{ token: "id_token", claims: {}, caFile: undefined, insecureHttp: true },
      ...(name === "robots" ? {} : { signIn: { scopes: ["openid"], device: true } }),
    }),
  );
  const revoked: string[] = [];
  let onExchange = () => undefined as unknown;
  const doors = createDoorSignIns({
    providers: () => providers,
    revoke: (chain) => void revoked.push(chain as never),
    clock: systemClock,
    random: systemRandom,
    exchange: (async ({ subject }: { subject: { token: Secret } }) => {
      onExchange();
      const token = subject.token.reveal();
      const chain = `chain of ${token}` as unknown as Chain;
      return { ok: true, minted: { chain }, credential: new Secret(`handle of ${token}`) };
    }) as never,
  });
  return {
    ...{ doors, revoked },
    whenExchanging: (act: () => void) =>
      new Promise<void>((resolve) => {
        onExchange = () => {
          act();
          resolve();
        };
      }),
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
