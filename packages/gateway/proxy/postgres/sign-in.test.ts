// Who somebody is, shown to the real door: real drivers and bare frames, the delegation tree of the control
// side behind it, and a real PostgreSQL. PostgreSQL docs, "SASL Authentication".

import assert from "node:assert/strict";
import { generateKeyPairSync, randomBytes } from "node:crypto";
import { once } from "node:events";
import { connect as connectTcp } from "node:net";
import { after, before, describe, test } from "node:test";
import { connect as connectTls, type TLSSocket } from "node:tls";
import { decodeAuthentication, decodeErrorFields } from "@custody/wire/postgres/backend.ts";
import { FrameCursor } from "@custody/wire/postgres/frames.ts";
import {
  encodeSaslInitialResponse,
  encodeSaslResponse,
  password,
} from "@custody/wire/postgres/frontend.ts";
import { scramClient } from "@custody/wire/postgres/scram.ts";
import { encodeSslRequest, encodeStartup } from "@custody/wire/postgres/startup.ts";
import pg from "pg";
import postgresJs from "postgres";
import {
  type ControlSide,
  recordingBroker,
  startControlSide,
  testTarget,
} from "../../../../conformance/support/control-side.ts";
import {
  startPostgres,
  type TestPostgres,
} from "../../../../conformance/support/postgres-server.ts";
import { connectRaw } from "../../../../fuzz/postgres/raw-connection.ts";
import { Secret } from "../../base/secret.ts";
import type { PostgresSignIn } from "../../config/config.ts";
import { isRefused } from "../../delegation/tree.ts";
import { type RelayHarness, startRelay } from "./relay-harness.ts";

const DISCOVERY = "https://gw.example/.well-known/oauth-authorization-server";

let postgres: TestPostgres;
let side: ControlSide;
let relay: RelayHarness;
let ways: PostgresSignIn[];

before(async () => {
  postgres = await startPostgres({ databases: ["shop"] });
  const upstream = { kind: "password", user: postgres.superuser } as const;
  side = await startControlSide({
    targets: [testTarget()],
    broker: {
      ...recordingBroker(),
      lease: async () => ({
        credential: { ...upstream, password: new Secret(postgres.password) },
        attach: () => undefined,
        release: async () => undefined,
      }),
    },
  });
  ways = ["password", "scram", "oauth", "certificate"];
  relay = await startRelay(postgres, {
    control: side.control,
    signIn: () => ({
      ways: new Set(ways),
      oauth: { discoveryUrl: DISCOVERY, scope: "openid" },
    }),
  });
});

after(async () => {
  await relay?.[Symbol.asyncDispose]();
  await side?.[Symbol.asyncDispose]();
  await postgres?.[Symbol.asyncDispose]();
});

/** A signed-in person with a handle. */
function newcomer() {
  const name = `u${randomBytes(6).toString("hex")}`;
  const made = side.tree.signIn(
    {
      kind: "user",
      id: `corp/${name}`,
      name,
      subject: `corp/${name}`,
      groups: [],
      verifiedAtMs: side.clock.nowMs(),
    },
    undefined,
    "handle",
  );
  assert.ok(!isRefused(made) && made.handle !== undefined);
  const handle = made.handle.reveal();
  return { id: made.node.id, handle, user: `orders~cst_${made.node.id.slice(2)}` };
}

const door = (user: string, secret: string) => ({
  host: "127.0.0.1",
  port: relay.listener.port,
  user,
  password: secret,
  database: "shop",
  ssl: { ca: relay.ca, servername: "localhost" },
});

async function one(client: pg.Client): Promise<unknown> {
  await client.connect();
  try {
    return (await client.query("select 1 as one")).rows;
  } finally {
    await client.end();
  }
}

describe("by a proof of the handle", () => {
  test("a driver signs in, bound to the channel or not, with the account or without", async () => {
    const { handle, user } = newcomer();
    for (const enableChannelBinding of [true, false])
      for (const name of [user, `ro~${user}`])
        assert.deepEqual(
          await one(new pg.Client({ ...door(name, handle), enableChannelBinding })),
          [{ one: 1 }],
        );
    const sql = postgresJs({ ...door(user, handle), max: 1 });
    assert.deepEqual([...(await sql`select 1 as one`)], [{ one: 1 }]);
    await sql.end();
  });

  test("the gateway proves that it knows the handle, and the secret is not on the wire", async () => {
    const { handle, user } = newcomer();
    await using connection = await connectRaw(door(user, handle));
    // The raw client stops at a server that proves nothing.
    assert.equal(connection.mechanism, "SCRAM-SHA-256-PLUS");
  });

  test("another secret, another's handle and an id that does not exist are refused alike", async () => {
    const [mine, other] = [newcomer(), newcomer()];
    const wrong = `${mine.handle.slice(0, -1)}${mine.handle.endsWith("0") ? "1" : "0"}`;
    const attempts = [
      door(mine.user, wrong),
      door(mine.user, other.handle),
      door(other.user, mine.handle),
      door("orders~cst_0000000000000000", mine.handle),
    ];
    for (const attempt of attempts)
      await assert.rejects(connectRaw(attempt), /this credential is not one of this gateway's/);
  });

  test("what was revoked or is bound to a key does not sign in, and only its holder is told why", async () => {
    const { handle, id, user } = newcomer();
    side.tree.revoke(id, "corp/admin", undefined);
    await assert.rejects(connectRaw(door(user, handle)), /revoked/);
    await assert.rejects(connectRaw(door(user, newcomer().handle)), /not one of this gateway's/);
  });

  test("a hash of another certificate, and who was told that binding is not offered, are refused", async () => {
    const { handle, user } = newcomer();
    const certificateHash = Buffer.alloc(32, 7);
    await assert.rejects(connectRaw(door(user, handle), { certificateHash }), /not accepted/);
    const told = await dialogue(user, ({ mechanisms }) => {
      assert.deepEqual(mechanisms, ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"]);
      return encodeSaslInitialResponse(
        "SCRAM-SHA-256",
        Buffer.from(`y,,n=,r=${randomBytes(18).toString("base64")}`),
      );
    });
    assert.deepEqual(told, ["R:sasl", "E:28P01"]);
  });

  test("a final message of an earlier sign-in proves nothing", async () => {
    const { handle, user } = newcomer();
    const nonce = randomBytes(18).toString("base64");
    const finals: Buffer[] = [];
    for (const replays of [false, true]) {
      const client = scramClient({ password: handle, nonce, mechanisms: ["SCRAM-SHA-256"] });
      const told = await dialogue(user, async ({ kind, data }) => {
        if (kind === "sasl")
          return encodeSaslInitialResponse(client.mechanism, client.initialResponse);
        if (kind !== "sasl-continue" || data === undefined) return undefined;
        const own = encodeSaslResponse(await client.respond(data));
        finals.push(own);
        return replays ? finals[0] : own;
      });
      const expected = replays ? ["E:28P01"] : ["R:sasl-final", "R:ok"];
      assert.deepEqual(told, ["R:sasl", "R:sasl-continue", ...expected]);
    }
  });

  test("a password instead of a proof, and bytes behind the proof, end it", async () => {
    const { handle, user } = newcomer();
    const shown = await dialogue(user, () => password(handle));
    assert.deepEqual(shown, ["R:sasl", "E:08P01"]);
    const client = scramClient({
      password: handle,
      nonce: randomBytes(18).toString("base64"),
      mechanisms: ["SCRAM-SHA-256"],
    });
    const more = await dialogue(user, async ({ kind, data }) => {
      if (kind === "sasl")
        return encodeSaslInitialResponse(client.mechanism, client.initialResponse);
      if (data === undefined) return undefined;
      const final = encodeSaslResponse(await client.respond(data));
      return Buffer.concat([final, password("more")]);
    });
    assert.deepEqual(more, ["R:sasl", "R:sasl-continue", "E:08P01"]);
  });
});

describe("by OAUTHBEARER", () => {
  const options = { options: "-c custody.sign_in=oauth" };
  const bearer = (token: string) =>
    encodeSaslInitialResponse("OAUTHBEARER", Buffer.from(`n,,\x01auth=${token}\x01\x01`));

  test("a token signs in; who has none is told where to get one", async () => {
    const { handle } = newcomer();
    const told = await dialogue("orders", () => bearer(`Bearer ${handle}`), options);
    assert.deepEqual(told, ["R:sasl", "R:ok"]);
    let directions: unknown;
    const asked = await dialogue(
      "orders",
      ({ kind, data }) => {
        if (kind === "sasl") return bearer("");
        directions = JSON.parse(String(data));
        return encodeSaslResponse(Buffer.of(1));
      },
      options,
    );
    assert.deepEqual(asked, ["R:sasl", "R:sasl-continue", "E:28P01"]);
    assert.deepEqual(directions, {
      status: "invalid_token",
      "openid-configuration": DISCOVERY,
      scope: "openid",
    });
  });

  test("a token that is worth nothing is refused in the mechanism's form, then FATAL", async () => {
    const { handle } = newcomer();
    for (const token of [`${handle.slice(0, -4)}zzzz`, "eyJhbGciOiJub25lIn0.e30.", "x"]) {
      const told = await dialogue(
        "orders",
        ({ kind }) =>
          kind === "sasl" ? bearer(`Bearer ${token}`) : encodeSaslResponse(Buffer.of(1)),
        options,
      );
      assert.deepEqual(told, ["R:sasl", "R:sasl-continue", "E:28P01"], token);
    }
    const other = await dialogue(
      "orders",
      ({ kind }) => (kind === "sasl" ? bearer("Bearer x") : encodeSaslResponse(Buffer.of(2))),
      options,
    );
    assert.deepEqual(other, ["R:sasl", "R:sasl-continue", "E:08P01"]);
  });

  test("another mechanism, and what is not of its form, end it", async () => {
    const { handle } = newcomer();
    const scram = encodeSaslInitialResponse("SCRAM-SHA-256", Buffer.from("n,,n=,r=x"));
    assert.deepEqual(await dialogue("orders", () => scram, options), ["R:sasl", "E:08P01"]);
    const odd = bearer(`Basic ${handle}`);
    assert.deepEqual(await dialogue("orders", () => odd, options), ["R:sasl", "E:28P01"]);
    const none = encodeSaslInitialResponse("OAUTHBEARER", null);
    assert.deepEqual(await dialogue("orders", () => none, options), ["R:sasl", "E:08P01"]);
  });
});

describe("by a client certificate", () => {
  async function certified(id: string, expiresInMs = 3_600_000) {
    const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
    const nowMs = side.clock.nowMs();
    const { certificatePem } = await side.clientAuthority.certify({
      publicKey: publicKey.export({ type: "spki", format: "pem" }).toString(),
      delegationId: id,
      expiresAtMs: nowMs + expiresInMs,
      nowMs,
    });
    const key = privateKey.export({ type: "pkcs8", format: "pem" }).toString();
    return { cert: certificatePem, key };
  }
  const shown = (pair: { cert: string; key: string }, user = "orders") => {
    const { ssl, ...rest } = door(user, "not asked for");
    return new pg.Client({ ...rest, ssl: { ...ssl, ...pair } });
  };

  test("signs in and nothing is asked for; a handle that is named counts before it", async () => {
    const { handle, id } = newcomer();
    const pair = await certified(id);
    assert.deepEqual(await one(shown(pair)), [{ one: 1 }]);
    const other = newcomer();
    const named = shown(pair, other.user);
    await assert.rejects(one(named), /not one of this gateway's/);
    const { ssl, ...rest } = door(other.user, other.handle);
    assert.deepEqual(await one(new pg.Client({ ...rest, ssl: { ...ssl, ...pair } })), [{ one: 1 }]);
    assert.ok(handle);
  });

  test("ends with its delegation, and its own time", async () => {
    const { id } = newcomer();
    const pair = await certified(id);
    side.tree.revoke(id, "corp/admin", undefined);
    await assert.rejects(one(shown(pair)), /revoked/);
    const late = await certified(newcomer().id, -1000);
    await assert.rejects(one(shown(late)), { code: "28P01", message: /expired/ });
  });

  test("of another authority is not looked at, unless it says that it is one of ours", async () => {
    const { handle, id } = newcomer();
    const { createTestAuthority } = await import("../../../../conformance/support/certificates.ts");
    const foreign = createTestAuthority().issue(["somebody"]);
    const { ssl, ...rest } = door("orders", handle);
    const client = new pg.Client({ ...rest, ssl: { ...ssl, ...foreign } });
    assert.deepEqual(await one(client), [{ one: 1 }]);
    const other = await startControlSide({});
    try {
      const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
      const nowMs = side.clock.nowMs();
      const forged = await other.clientAuthority.certify({
        publicKey: publicKey.export({ type: "spki", format: "pem" }).toString(),
        delegationId: id,
        expiresAtMs: nowMs + 60_000,
        nowMs,
      });
      const key = privateKey.export({ type: "pkcs8", format: "pem" }).toString();
      await assert.rejects(one(shown({ cert: forged.certificatePem, key })), /authority/);
    } finally {
      await other[Symbol.asyncDispose]();
    }
  });
});

describe("what the door is told to take", () => {
  const only = async (taken: PostgresSignIn[], work: () => Promise<void>) => {
    const all = ways;
    ways = taken;
    try {
      await work();
    } finally {
      ways = all;
    }
  };

  test("nothing else is taken, and the hint says what is", async () => {
    const { handle, user } = newcomer();
    await only(["scram"], async () => {
      await assert.rejects(one(new pg.Client(door("orders", handle))), {
        code: "42501",
        hint: /cst_<id>/,
      });
      assert.deepEqual(await one(new pg.Client(door(user, handle))), [{ one: 1 }]);
    });
    await only(["password"], async () => {
      await assert.rejects(connectRaw(door(user, handle)), /takes no sign-in by scram/);
      assert.deepEqual(await one(new pg.Client(door("orders", handle))), [{ one: 1 }]);
    });
    await only(["oauth"], async () => {
      const told = await dialogue("orders", () => undefined);
      assert.deepEqual(told, ["R:sasl"]);
    });
    await only(["certificate"], async () => {
      await assert.rejects(one(new pg.Client(door("orders", handle))), { hint: /certificate/ });
    });
  });
});

interface Asked {
  readonly kind: string;
  readonly mechanisms?: readonly string[];
  readonly data?: Buffer;
}

/**
 * What the door says, a word a message, up to the end of sign-in; `answer` says what is sent back. undefined:
 * nothing, and that was all.
 */
async function dialogue(
  user: string,
  answer: (asked: Asked) => Buffer | undefined | Promise<Buffer | undefined>,
  more: Readonly<Record<string, string>> = {},
): Promise<string[]> {
  const socket = await secured();
  const cursor = new FrameCursor({ maxFrameBytes: 1 << 20 });
  const seen: string[] = [];
  socket.write(encodeStartup(Object.entries({ user, database: "shop", ...more })));
  const chunks = socket.iterator({ destroyOnReturn: false });
  try {
    for (;;) {
      while (!cursor.next()) {
        const { value, done } = await chunks.next();
        if (done === true) return seen;
        cursor.push(value);
      }
      const { type, buffer, start, end } = cursor;
      if (type === 0x45) {
        seen.push(`E:${decodeErrorFields(buffer, start, end).get("C")}`);
        return seen;
      }
      if (type !== 0x52) continue;
      const asked = decodeAuthentication(buffer, start, end);
      seen.push(`R:${asked.kind}`);
      if (asked.kind === "ok") return seen;
      if (asked.kind === "sasl-final") continue;
      const sent = await answer(asked as Asked);
      if (sent === undefined) return seen;
      socket.write(sent);
    }
  } finally {
    socket.destroy();
  }
}

async function secured(): Promise<TLSSocket> {
  const plain = connectTcp({ host: "127.0.0.1", port: relay.listener.port });
  await once(plain, "connect");
  plain.write(encodeSslRequest());
  await once(plain, "readable");
  assert.equal(String(plain.read(1)), "S");
  const socket = connectTls({ socket: plain, ca: relay.ca, servername: "localhost" });
  await once(socket, "secureConnect");
  return socket;
}
