import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import test from "node:test";
import fc from "fast-check";
import { scramClient } from "./scram.ts";
import { type ScramServerOptions, scramServer, scramServerFinal } from "./scram-server.ts";

const AUTHENTICATION = { name: "WireError", code: "authentication" };
const CLIENT_NONCE = "rOprNGfwEbeRWgbNEkqO";
const OURS: ScramServerOptions = {
  nonce: "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
  salt: Buffer.from("W22ZaJ0SNY7soEsUEjb6gQ==", "base64"),
  iterations: 4096,
  certificateHash: undefined,
};
const HASH = createHash("sha256").update("a certificate").digest();
const PLUS = "SCRAM-SHA-256-PLUS";
const PLAIN = "SCRAM-SHA-256";

// RFC 7677 section 3.
const FIRST = "n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
const NONCE = `${CLIENT_NONCE}${OURS.nonce}`;
const PROOF = "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
const FINAL = `c=biws,r=${NONCE},p=${PROOF}`;

function begun(first = FIRST, options: Partial<ScramServerOptions> = {}, mechanism = PLAIN) {
  const server = scramServer({ ...OURS, ...options });
  return { server, said: server.first(mechanism, Buffer.from(first)).toString() };
}

test("the exchange of RFC 7677", () => {
  const { server, said } = begun();
  assert.equal(said, `r=${NONCE},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096`);
  const { authMessage, proof } = server.final(Buffer.from(FINAL));
  assert.equal(
    Buffer.from(authMessage).toString(),
    `n=user,r=${CLIENT_NONCE},${said},c=biws,r=${NONCE}`,
  );
  assert.equal(Buffer.from(proof).toString("base64"), PROOF);
  const signature = Buffer.from("6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=", "base64");
  assert.equal(
    scramServerFinal(signature).toString(),
    "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
  );
});

test("each step is taken once and in order", () => {
  const server = scramServer(OURS);
  assert.throws(() => server.final(Buffer.from(FINAL)), AUTHENTICATION);
  const { server: other } = begun();
  assert.throws(() => other.first(PLAIN, Buffer.from(FIRST)), AUTHENTICATION);
  other.final(Buffer.from(FINAL));
  assert.throws(() => other.final(Buffer.from(FINAL)), AUTHENTICATION);
});

test("binding is offered where the certificate has a hash, and a downgrade of it refused", () => {
  assert.deepEqual(scramServer(OURS).mechanisms, [PLAIN]);
  const withHash = { certificateHash: HASH };
  assert.deepEqual(scramServer({ ...OURS, ...withHash }).mechanisms, [PLUS, PLAIN]);
  const rest = FIRST.slice(3);
  const first = (header: string) => `${header}${rest}`;
  const endPoint = "p=tls-server-end-point,,";
  for (const [header, mechanism, options, fits] of [
    ["n,,", PLAIN, {}, true],
    ["y,,", PLAIN, {}, true],
    [endPoint, PLAIN, {}, false],
    [endPoint, PLUS, {}, false],
    ["n,,", PLAIN, withHash, true],
    // It could bind and was told that we cannot: somebody took PLUS out of the offer.
    ["y,,", PLAIN, withHash, false],
    [endPoint, PLAIN, withHash, false],
    ["n,,", PLUS, withHash, false],
    ["y,,", PLUS, withHash, false],
    ["p=tls-unique,,", PLUS, withHash, false],
    ["p=tls-exporter,,", PLUS, withHash, false],
    [endPoint, PLUS, withHash, true],
    [endPoint, "SCRAM-SHA-1-PLUS", withHash, false],
    ["n,,", "OAUTHBEARER", withHash, false],
  ] as const) {
    const attempt = () => begun(first(header), options, mechanism);
    if (fits) attempt();
    else assert.throws(attempt, AUTHENTICATION, `${header} ${mechanism}`);
  }
});

test("a proof is for this channel: header and hash are what was bound", () => {
  const withHash = { certificateHash: HASH };
  const binding = (header: string, hash = Buffer.alloc(0)) =>
    Buffer.concat([Buffer.from(header), hash]).toString("base64");
  const header = "p=tls-server-end-point,,";
  const final = (bound: string) => {
    const { server } = begun(`${header}${FIRST.slice(3)}`, withHash, PLUS);
    return server.final(Buffer.from(`c=${bound},r=${NONCE},p=${PROOF}`));
  };
  final(binding(header, HASH));
  const other = createHash("sha256").update("another certificate").digest();
  for (const bound of [binding(header, other), binding(header), binding("n,,"), "biws"])
    assert.throws(() => final(bound), AUTHENTICATION, bound);
  // Without binding: what the first message said of it is repeated, not something better or worse.
  const { server } = begun("y,,n=user,r=rOprNGfwEbeRWgbNEkqO");
  assert.throws(() => server.final(Buffer.from(FINAL)), AUTHENTICATION);
});

for (const [name, first] of [
  ["no header", "n=user,r=rOprNGfwEbeRWgbNEkqO"],
  ["an authorization identity", "n,a=other,n=user,r=rOprNGfwEbeRWgbNEkqO"],
  ["an unknown flag", "x,,n=user,r=rOprNGfwEbeRWgbNEkqO"],
  ["a mandatory extension", "n,,m=x,n=user,r=rOprNGfwEbeRWgbNEkqO"],
  ["a mandatory extension at the end", "n,,n=user,r=rOprNGfwEbeRWgbNEkqO,m=x"],
  ["no nonce", "n,,n=user"],
  ["a short nonce", "n,,n=user,r=short"],
  ["a nonce with a blank", "n,,n=user,r=rOprNGfwEbeRWgbNEkq O"],
  ["a NUL", "n,,n=us\0er,r=rOprNGfwEbeRWgbNEkqO"],
  ["an equals sign in the name", "n,,n=us=er,r=rOprNGfwEbeRWgbNEkqO"],
  ["too long", `n,,n=${"u".repeat(3000)},r=rOprNGfwEbeRWgbNEkqO`],
  ["nothing", ""],
] as const)
  test(`the client's first message is refused: ${name}`, () => {
    assert.throws(() => begun(first), AUTHENTICATION);
  });

for (const [name, final] of [
  ["another nonce", FINAL.replace("k0,p=", "k1,p=")],
  ["the client's nonce alone", `c=biws,r=${CLIENT_NONCE},p=${PROOF}`],
  ["another server's nonce", `c=biws,r=${CLIENT_NONCE}${"A".repeat(30)},p=${PROOF}`],
  ["no proof", `c=biws,r=${NONCE}`],
  ["an empty proof", `c=biws,r=${NONCE},p=`],
  ["a short proof", `c=biws,r=${NONCE},p=dHzbZapW`],
  ["a proof that is not base64", `c=biws,r=${NONCE},p=dHzbZapWIk4jUhN*`],
  ["something behind the proof", `${FINAL},x=y`],
  ["no binding", `r=${NONCE},p=${PROOF}`],
  ["nothing", ""],
] as const)
  test(`the client's final message is refused: ${name}`, () => {
    const { server } = begun();
    assert.throws(() => server.final(Buffer.from(final)), AUTHENTICATION);
    // One attempt: the right one afterwards comes too late.
    assert.throws(() => server.final(Buffer.from(FINAL)), AUTHENTICATION);
  });

test("what our own client says is understood, whatever its name and nonce", () => {
  const nonces = fc.stringMatching(/^[!-+\--~]{16,64}$/);
  fc.assert(
    fc.property(fc.string({ maxLength: 40 }), nonces, fc.boolean(), (user, nonce, bound) => {
      fc.pre(!user.includes("\0") && user.isWellFormed());
      const certificateHash = bound ? HASH : undefined;
      const server = scramServer({ ...OURS, certificateHash });
      const { mechanisms } = server;
      const client = scramClient({ user, password: "p", nonce, mechanisms, certificateHash });
      assert.equal(client.mechanism, bound ? PLUS : PLAIN);
      const said = server.first(client.mechanism, client.initialResponse).toString();
      assert.ok(said.startsWith(`r=${nonce}${OURS.nonce},s=`));
    }),
    { numRuns: 200 },
  );
});

test("random bytes are refused and nothing worse", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
      assert.throws(() => scramServer(OURS).first(PLAIN, bytes), AUTHENTICATION);
      const { server } = begun();
      assert.throws(() => server.final(bytes), AUTHENTICATION);
    }),
    { numRuns: 500 },
  );
});
