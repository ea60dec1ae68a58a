import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import test from "node:test";
import { startPostgres } from "../../../conformance/support/postgres-server.ts";
import { connectRaw } from "../../../fuzz/postgres/raw-connection.ts";
import { type ScramOptions, scramClient, scramVerifier } from "./scram.ts";

// RFC 7677 section 3.
const RFC_7677 = {
  options: {
    user: "user",
    password: "pencil",
    nonce: "rOprNGfwEbeRWgbNEkqO",
    mechanisms: ["SCRAM-SHA-256"],
  },
  clientFirst: "n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
  serverFirst:
    "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
  clientFinal:
    "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
  serverFinal: "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
};

const AUTHENTICATION = { name: "WireError", code: "authentication" };

test("the exchange of RFC 7677", async () => {
  const client = scramClient(RFC_7677.options);
  assert.equal(client.initialResponse.toString(), RFC_7677.clientFirst);
  const final = await client.respond(Buffer.from(RFC_7677.serverFirst));
  assert.equal(final.toString(), RFC_7677.clientFinal);
  assert.equal(client.verified, false);
  client.verify(Buffer.from(RFC_7677.serverFinal));
  assert.equal(client.verified, true);
});

const badFirsts: readonly [name: string, message: string][] = [
  ["another nonce", "r=AAAANGfwEbeRWgbNEkqO%hvYD,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"],
  ["our nonce only", "r=rOprNGfwEbeRWgbNEkqO,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"],
  ["4095 iterations", "r=rOprNGfwEbeRWgbNEkqO%,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4095"],
  ["2^31 iterations", "r=rOprNGfwEbeRWgbNEkqO%,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=2147483648"],
  ["no salt", "r=rOprNGfwEbeRWgbNEkqO%,s=,i=4096"],
  ["salt not base64", "r=rOprNGfwEbeRWgbNEkqO%,s=W22Z*,i=4096"],
  ["a mandatory extension", "m=x,r=rOprNGfwEbeRWgbNEkqO%,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"],
  ["no iterations", "r=rOprNGfwEbeRWgbNEkqO%,s=W22ZaJ0SNY7soEsUEjb6gQ=="],
  ["a NUL", "r=rOprNGfwEbeRWgbNEkqO%\0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"],
  ["too long", `r=rOprNGfwEbeRWgbNEkqO${"x".repeat(5000)},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096`],
];

for (const [name, message] of badFirsts) {
  test(`the server's first message is refused: ${name}`, async () => {
    const client = scramClient(RFC_7677.options);
    await assert.rejects(client.respond(Buffer.from(message)), AUTHENTICATION);
  });
}

for (const [name, message] of [
  ["another signature", "v=7rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="],
  ["a short signature", "v=6rriTRBi23WpRR/w"],
  ["none", "v="],
  ["nothing", ""],
  ["an error", "e=invalid-proof"],
] as const) {
  test(`the server's final message is refused: ${name}`, async () => {
    const client = scramClient(RFC_7677.options);
    await client.respond(Buffer.from(RFC_7677.serverFirst));
    assert.throws(() => client.verify(Buffer.from(message)), AUTHENTICATION);
    assert.equal(client.verified, false);
    // One attempt: the right one afterwards comes too late.
    assert.throws(() => client.verify(Buffer.from(RFC_7677.serverFinal)), AUTHENTICATION);
  });
}

test("a final message without a first one proves nothing", () => {
  const client = scramClient(RFC_7677.options);
  assert.throws(() => client.verify(Buffer.from(RFC_7677.serverFinal)), AUTHENTICATION);
});

test("what is said of channel binding", () => {
  const certificateHash = Buffer.alloc(32, 1);
  const both = ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"];
  const header = (options: Partial<ScramOptions>) => {
    const client = scramClient({ ...RFC_7677.options, ...options });
    return `${client.mechanism} ${client.initialResponse.toString().split(",n=")[0]}`;
  };
  const plus = "SCRAM-SHA-256-PLUS p=tls-server-end-point,";
  assert.equal(header({ mechanisms: both, certificateHash }), plus);
  assert.equal(header({ mechanisms: ["SCRAM-SHA-256"], certificateHash }), "SCRAM-SHA-256 y,");
  assert.equal(header({ mechanisms: both }), "SCRAM-SHA-256 n,");
  assert.throws(() => header({ mechanisms: ["SCRAM-SHA-1", "MD5"] }), AUTHENTICATION);
  assert.throws(() => header({ mechanisms: ["SCRAM-SHA-256-PLUS"] }), AUTHENTICATION);
});

test("passwords and nonces that cannot be used are refused", () => {
  const syntax = { name: "WireError", code: "syntax" };
  const commas = "a,b".repeat(9);
  for (const bad of [{ password: "" }, { password: "a\0" }, { nonce: "short" }, { nonce: commas }])
    assert.throws(() => scramClient({ ...RFC_7677.options, ...bad }), syntax);
});

test("PostgreSQL takes our proofs and our verifiers, with channel binding and without", async () => {
  await using server = await startPostgres();
  const verifier = scramVerifier("p\u00e4ssword \u2168", randomBytes(16), 5000);
  assert.match(verifier, /^SCRAM-SHA-256\$5000:[A-Za-z0-9+/=]+\$[A-Za-z0-9+/=]+:[A-Za-z0-9+/=]+$/);
  await server.query("postgres", `create role made login password '${verifier}'`);
  const target = { ...server.connection(), user: "made", password: "p\u00e4ssword IX" };
  {
    await using connection = await connectRaw(target);
    assert.equal(connection.mechanism, "SCRAM-SHA-256-PLUS");
  }
  await assert.rejects(connectRaw({ ...target, password: "wrong" }), /password authentication/);
  const certificateHash = Buffer.alloc(32, 7);
  await assert.rejects(connectRaw(target, { certificateHash }), /channel binding/);
});
