// Authentication, with clients and servers that lie.

import assert from "node:assert/strict";
import { generateKeyPairSync, type KeyObject, randomBytes, sign } from "node:crypto";
import test from "node:test";
import {
  encodeInfoResponse,
  encodePublicKeyQuery,
  encodeService,
  encodeUnsignedRequest,
  encodeUserauthRequest,
  HOSTBOUND,
} from "./auth-messages.ts";
import { signCertificate } from "./certificate.ts";
import type { AuthAttempt, SshEvent } from "./events.ts";
import {
  booleanField,
  byteField,
  nameField,
  nameListField,
  stringField,
  textField,
  uint32Field,
} from "./fields.ts";
import { publicKeyBlob, signBlob } from "./keys.ts";
import { MSG } from "./numbers.ts";
import {
  type BareEnd,
  bareClient,
  bareServer,
  type ConnectionEnd,
  clientEnd,
  failure,
  HOST_KEY,
  proveKey,
  serverEnd,
  settle,
  USER_KEY,
} from "./pair-harness.ts";
import { ed25519 } from "./peer-harness.ts";

const USER_BLOB = publicKeyBlob(USER_KEY);
const RSA_KEY = generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey;
const RSA_BLOB = publicKeyBlob(RSA_KEY);

/** A server that answers nothing by itself, and a client that can say anything, keys agreed. */
function quietServer(options: Parameters<typeof serverEnd>[0] = {}): {
  server: ConnectionEnd;
  client: BareEnd;
  say(...messages: Buffer[]): SshEvent[];
} {
  const server = serverEnd(options, () => undefined);
  const client = bareClient();
  settle(client, server);
  const say = (...messages: Buffer[]): SshEvent[] => {
    const before = server.events.length;
    for (const message of messages) client.transport.send(message);
    settle(client, server);
    return server.events.slice(before);
  };
  say(encodeService(MSG.serviceRequest, "ssh-userauth"));
  return { server, client, say };
}

function attemptOf(events: readonly SshEvent[]): AuthAttempt {
  const [event] = events;
  assert.ok(event?.kind === "auth-request");
  return event.attempt;
}

function signedRequest(
  sessionId: Buffer,
  key: KeyObject,
  blob: Buffer,
  algorithm: string,
  inner = algorithm,
): Buffer {
  const request = encodeUnsignedRequest("web", algorithm, blob);
  const signature = signBlob(key, inner, Buffer.concat([stringField(sessionId), request]));
  return Buffer.concat([request, stringField(signature)]);
}

test("each method arrives as an attempt of its kind", () => {
  const attempts: readonly (readonly [Buffer, AuthAttempt])[] = [
    [encodeUserauthRequest("web", "none"), { method: "none" }],
    [
      encodeUserauthRequest("web", "password", booleanField(false), textField("p")),
      { method: "password", password: Buffer.from("p") },
    ],
    [
      encodeUserauthRequest("web", "password", booleanField(true), textField("p"), textField("q")),
      { method: "password-change" },
    ],
    [
      encodeUserauthRequest("web", "keyboard-interactive", textField(""), textField("pam")),
      { method: "keyboard-interactive", submethods: "pam" },
    ],
    [
      encodePublicKeyQuery("web", "ssh-ed25519", USER_BLOB),
      { method: "publickey-query", algorithm: "ssh-ed25519", key: USER_BLOB },
    ],
    [
      encodeUserauthRequest("web", "gssapi-with-mic", uint32Field(1), textField("oid")),
      { method: "other", name: "gssapi-with-mic" },
    ],
  ];
  const { server, say } = quietServer();
  for (const [message, attempt] of attempts) {
    assert.deepEqual(attemptOf(say(message)), attempt);
    server.connection.rejectAuth(["publickey"]);
  }
});

test("a signature is good for this session, this user, this key, this algorithm only", () => {
  const { server, client, say } = quietServer();
  const sessionId = client.transport.sessionId!;
  const other = ed25519();
  const good = signedRequest(sessionId, USER_KEY, USER_BLOB, "ssh-ed25519");
  const forOtherUser = encodeUnsignedRequest("root", "ssh-ed25519", USER_BLOB);
  const stolen = signBlob(
    USER_KEY,
    "ssh-ed25519",
    Buffer.concat([stringField(sessionId), forOtherUser]),
  );
  const request = encodeUnsignedRequest("web", "ssh-ed25519", USER_BLOB);
  const query = encodePublicKeyQuery("web", "ssh-ed25519", USER_BLOB);
  const overQuery = signBlob(
    USER_KEY,
    "ssh-ed25519",
    Buffer.concat([stringField(sessionId), query]),
  );
  const bad: Readonly<Record<string, Buffer>> = {
    "of another session": signedRequest(randomBytes(32), USER_KEY, USER_BLOB, "ssh-ed25519"),
    "by another key": signedRequest(sessionId, other, USER_BLOB, "ssh-ed25519"),
    "for another user": Buffer.concat([request, stringField(stolen)]),
    "over the query": Buffer.concat([request, stringField(overQuery)]),
    empty: Buffer.concat([request, stringField(Buffer.alloc(0))]),
    "with bytes behind": Buffer.concat([
      request,
      stringField(Buffer.concat([good.subarray(request.length + 4), Buffer.of(0)])),
    ]),
  };
  for (const [name, message] of Object.entries(bad)) {
    const attempt = attemptOf(say(message));
    assert.equal(attempt.method, "other", name);
    assert.ok(attempt.method === "other" && attempt.problem !== undefined);
    server.connection.rejectAuth(["publickey"]);
  }
  assert.equal(attemptOf(say(good)).method, "publickey");
});

test("RSA: SHA-2 only, and the signature's algorithm is the one named", () => {
  const { server, client, say } = quietServer();
  const sessionId = client.transport.sessionId!;
  for (const algorithm of ["rsa-sha2-512", "rsa-sha2-256"]) {
    const attempt = attemptOf(say(signedRequest(sessionId, RSA_KEY, RSA_BLOB, algorithm)));
    assert.equal(attempt.method, "publickey");
    server.connection.rejectAuth(["publickey"]);
  }
  const request = encodeUnsignedRequest("web", "ssh-rsa", RSA_BLOB);
  const sha1 = sign("sha1", Buffer.concat([stringField(sessionId), request]), RSA_KEY);
  const messages = [
    Buffer.concat([request, stringField(Buffer.concat([nameField("ssh-rsa"), stringField(sha1)]))]),
    signedRequest(sessionId, RSA_KEY, RSA_BLOB, "rsa-sha2-512", "rsa-sha2-256"),
    signedRequest(sessionId, RSA_KEY, RSA_BLOB, "ssh-ed25519", "rsa-sha2-256"),
    signedRequest(sessionId, USER_KEY, USER_BLOB, "rsa-sha2-256", "ssh-ed25519"),
    encodePublicKeyQuery("web", "ssh-rsa", RSA_BLOB),
    encodePublicKeyQuery("web", "ssh-dss", RSA_BLOB),
    encodePublicKeyQuery("web", "ssh-ed25519", RSA_BLOB),
    encodePublicKeyQuery("web", "ssh-ed25519", randomBytes(20)),
  ];
  for (const message of messages) {
    assert.equal(attemptOf(say(message)).method, "other");
    server.connection.rejectAuth(["publickey"]);
  }
});

async function certificateOf(publicKey: Buffer): Promise<Buffer> {
  const authority = ed25519();
  return await signCertificate(
    {
      publicKey,
      nonce: randomBytes(32),
      serial: 1n,
      role: "user",
      keyId: "k",
      principals: ["web"],
      validAfter: 0n,
      validBefore: 1n << 62n,
      criticalOptions: [],
      extensions: [],
    },
    {
      publicKey: publicKeyBlob(authority),
      sign: (data) => signBlob(authority, "ssh-ed25519", data),
    },
  );
}

test("a certificate is proved with its own key, under its own name", async () => {
  const { server, client, say } = quietServer();
  const sessionId = client.transport.sessionId!;
  const name = "ssh-ed25519-cert-v01@openssh.com";
  const certificate = await certificateOf(USER_BLOB);
  const rsa = await certificateOf(RSA_BLOB);
  const other = ed25519();
  const bad = [
    signedRequest(sessionId, other, certificate, name, "ssh-ed25519"),
    signedRequest(sessionId, USER_KEY, certificate, "ssh-ed25519"),
    signedRequest(sessionId, USER_KEY, USER_BLOB, name, "ssh-ed25519"),
    signedRequest(sessionId, RSA_KEY, rsa, name, "rsa-sha2-512"),
    signedRequest(sessionId, RSA_KEY, rsa, "rsa-sha2-256-cert-v01@openssh.com", "rsa-sha2-512"),
    signedRequest(sessionId, RSA_KEY, rsa, "ssh-rsa-cert-v01@openssh.com", "rsa-sha2-512"),
  ];
  for (const message of bad) {
    assert.equal(attemptOf(say(message)).method, "other");
    server.connection.rejectAuth(["publickey"]);
  }
  for (const message of [
    signedRequest(sessionId, USER_KEY, certificate, name, "ssh-ed25519"),
    signedRequest(sessionId, RSA_KEY, rsa, "rsa-sha2-512-cert-v01@openssh.com", "rsa-sha2-512"),
  ]) {
    assert.equal(attemptOf(say(message)).method, "publickey");
    server.connection.rejectAuth(["publickey"]);
  }
});

test("a signature bound to a host key is good for that host only", () => {
  const { server, client, say } = quietServer();
  const sessionId = client.transport.sessionId!;
  const bound = (hostKey: Buffer): Buffer => {
    const fields = [booleanField(true), nameField("ssh-ed25519"), stringField(USER_BLOB)];
    const request = encodeUserauthRequest("web", HOSTBOUND, ...fields, stringField(hostKey));
    const signature = signBlob(
      USER_KEY,
      "ssh-ed25519",
      Buffer.concat([stringField(sessionId), request]),
    );
    return Buffer.concat([request, stringField(signature)]);
  };
  assert.equal(attemptOf(say(bound(USER_BLOB))).method, "other");
  server.connection.rejectAuth(["publickey"]);
  assert.equal(attemptOf(say(bound(publicKeyBlob(HOST_KEY)))).method, "publickey");
});

test("what comes too early or from the wrong side ends the connection", () => {
  const messages: Readonly<Record<string, Buffer>> = {
    "success from a client (CVE-2018-10933)": Buffer.of(MSG.userauthSuccess),
    "failure from a client": Buffer.concat([
      byteField(MSG.userauthFailure),
      nameListField([]),
      booleanField(false),
    ]),
    "a channel before the login": Buffer.concat([
      byteField(MSG.channelOpen),
      textField("session"),
      uint32Field(0),
      uint32Field(1),
      uint32Field(1),
    ]),
    "a global request before the login": Buffer.concat([
      byteField(MSG.globalRequest),
      textField("keepalive@openssh.com"),
      booleanField(true),
    ]),
    "answers to no prompts": encodeInfoResponse([]),
    "another service": encodeService(MSG.serviceRequest, "ssh-connection"),
    "a service accepted by a client": encodeService(MSG.serviceAccept, "ssh-userauth"),
  };
  for (const [name, message] of Object.entries(messages)) {
    const { server, say } = quietServer();
    say(message);
    assert.equal(failure(server), "sequence", name);
  }
  // Without asking for the service.
  const server = serverEnd({}, () => undefined);
  const client = bareClient();
  settle(client, server);
  client.transport.send(encodeUserauthRequest("web", "none"));
  settle(client, server);
  assert.equal(failure(server), "sequence");
});

test("another user, another service, too many attempts", () => {
  const first = quietServer();
  first.say(encodeUserauthRequest("web", "none"));
  first.server.connection.rejectAuth(["publickey"]);
  first.say(encodeUserauthRequest("root", "none"));
  assert.equal(failure(first.server), "sequence");
  const second = quietServer();
  second.say(
    Buffer.concat([
      byteField(MSG.userauthRequest),
      textField("web"),
      nameField("ssh-userauth"),
      nameField("none"),
    ]),
  );
  assert.equal(failure(second.server), "sequence");
  const third = quietServer({ limits: { maxAuthAttempts: 3 } });
  for (let attempt = 0; attempt < 3; attempt++) {
    third.say(encodeUserauthRequest("web", "none"));
    third.server.connection.rejectAuth(["publickey"]);
  }
  third.say(encodeUserauthRequest("web", "none"));
  assert.equal(failure(third.server), "authentication");
});

test("what follows an attempt waits for its answer, within a limit", () => {
  const { server, client, say } = quietServer({ limits: { maxHeldBytes: 2000 } });
  const keys = encodePublicKeyQuery("web", "ssh-ed25519", USER_BLOB);
  const events = say(keys, keys, encodeUserauthRequest("web", "none"));
  assert.equal(events.length, 1);
  server.connection.acceptKey();
  settle(client, server);
  assert.equal(server.events.length, 3);
  server.connection.rejectAuth(["publickey"]);
  settle(client, server);
  assert.equal(server.events.length, 4);
  say(...Array.from({ length: 30 }, () => keys));
  assert.equal(failure(server), "limit");
});

test("answers of ours out of turn are refused, and requests after success passed over", () => {
  const { server, client, say } = quietServer();
  assert.throws(() => server.connection.acceptAuth(), { code: "state" });
  say(encodeUserauthRequest("web", "none"));
  assert.throws(() => server.connection.acceptKey(), { code: "state" });
  const prompts = { name: "", instruction: "", prompts: [] };
  assert.throws(() => server.connection.askKeyboard(prompts), { code: "state" });
  server.connection.acceptAuth();
  assert.throws(() => server.connection.acceptAuth(), { code: "state" });
  assert.deepEqual(say(encodeUserauthRequest("web", "none")), [
    { kind: "authenticated", user: "web" },
  ]);
  settle(client, server);
  assert.equal(server.connection.state, "open");
});

test("keyboard-interactive: prompts, a wrong number of answers, a new attempt in between", () => {
  const prompts = { name: "n", instruction: "i", prompts: [{ text: "handle", echo: false }] };
  const start = encodeUserauthRequest("web", "keyboard-interactive", textField(""), textField(""));
  const one = quietServer();
  one.say(start);
  one.server.connection.askKeyboard(prompts);
  const [event] = one.say(encodeInfoResponse([Buffer.from("cst_1")]));
  assert.deepEqual(event, { kind: "auth-answers", answers: [Buffer.from("cst_1")] });
  one.server.connection.acceptAuth();
  const two = quietServer();
  two.say(start);
  two.server.connection.askKeyboard(prompts);
  two.say(encodeInfoResponse([Buffer.from("a"), Buffer.from("b")]));
  assert.equal(failure(two.server), "syntax");
  const three = quietServer();
  three.say(start);
  three.server.connection.askKeyboard(prompts);
  assert.equal(attemptOf(three.say(encodeUserauthRequest("web", "none"))).method, "none");
  three.server.connection.rejectAuth([]);
  three.say(encodeInfoResponse([Buffer.from("a")]));
  assert.equal(failure(three.server), "sequence");
});

/** A client that answers nothing by itself, and a server that can say anything. */
function quietClient(): {
  client: ConnectionEnd;
  server: BareEnd;
  say(...all: Buffer[]): SshEvent[];
} {
  const client = clientEnd({}, () => undefined);
  const server = bareServer();
  settle(client, server);
  const say = (...messages: Buffer[]): SshEvent[] => {
    const before = client.events.length;
    for (const message of messages) server.transport.send(message);
    settle(client, server);
    return client.events.slice(before);
  };
  return { client, server, say };
}

const ACCEPT = encodeService(MSG.serviceAccept, "ssh-userauth");
const SUCCESS = Buffer.of(MSG.userauthSuccess);

test("a client takes success for an attempt only", () => {
  const unasked = quietClient();
  unasked.say(ACCEPT, SUCCESS);
  assert.equal(failure(unasked.client), "sequence");
  const beforeService = quietClient();
  beforeService.say(SUCCESS);
  assert.equal(failure(beforeService.client), "sequence");
  const query = quietClient();
  query.say(ACCEPT);
  query.client.connection.queryKey("ssh-ed25519", USER_BLOB);
  query.say(SUCCESS);
  assert.equal(failure(query.client), "sequence");
  const good = quietClient();
  good.say(ACCEPT);
  proveKey(good.client.connection, USER_KEY, USER_BLOB);
  assert.deepEqual(good.say(SUCCESS), [{ kind: "authenticated", user: "web" }]);
});

test("a client signs for the key it asked about only, and sees what it is asked", () => {
  const { client, say } = quietClient();
  say(ACCEPT);
  client.connection.queryKey("ssh-ed25519", USER_BLOB);
  assert.throws(() => client.connection.authenticateNone(), { code: "state" });
  const ok = (key: Buffer): Buffer =>
    Buffer.concat([byteField(60), nameField("ssh-ed25519"), stringField(key)]);
  assert.deepEqual(say(ok(USER_BLOB)), [
    { kind: "auth-key-accepted", algorithm: "ssh-ed25519", key: USER_BLOB },
  ]);
  client.connection.queryKey("ssh-ed25519", USER_BLOB);
  say(ok(publicKeyBlob(ed25519())));
  assert.equal(failure(client), "sequence");
  const keyboard = quietClient();
  keyboard.say(ACCEPT);
  keyboard.client.connection.authenticateKeyboard();
  const request = Buffer.concat([
    byteField(60),
    textField("n"),
    textField("i"),
    textField(""),
    uint32Field(1),
    textField("Password:"),
    booleanField(false),
  ]);
  assert.deepEqual(keyboard.say(request), [
    {
      kind: "auth-prompts",
      prompts: { name: "n", instruction: "i", prompts: [{ text: "Password:", echo: false }] },
    },
  ]);
  assert.throws(() => keyboard.client.connection.answerPrompts([]), { code: "state" });
  keyboard.client.connection.answerPrompts([Buffer.from("x")]);
  assert.equal(keyboard.say(SUCCESS)[0]?.kind, "authenticated");
  const password = quietClient();
  password.say(ACCEPT);
  password.client.connection.authenticatePassword(Buffer.from("old"));
  const change = Buffer.concat([byteField(60), textField("Too old"), textField("")]);
  assert.deepEqual(password.say(change), [{ kind: "auth-password-change", prompt: "Too old" }]);
});

test("banners, failures and partial success reach a client", () => {
  const { client, say } = quietClient();
  say(ACCEPT);
  client.connection.authenticateNone();
  const banner = Buffer.concat([byteField(MSG.userauthBanner), textField("Hello"), textField("")]);
  const refused = Buffer.concat([
    byteField(MSG.userauthFailure),
    nameListField(["publickey", "password"]),
    booleanField(true),
  ]);
  assert.deepEqual(say(banner, refused), [
    { kind: "auth-banner", text: "Hello" },
    { kind: "auth-wanted", methods: ["publickey", "password"], partialSuccess: true },
  ]);
});

test("calls of the other role and of another state are refused", () => {
  const { client } = quietClient();
  assert.throws(() => client.connection.acceptAuth(), { code: "state" });
  assert.throws(() => client.connection.openChannel({ kind: "session" }), { code: "state" });
  assert.throws(() => client.connection.rekey(), { code: "state" });
  const { server } = quietServer();
  assert.throws(() => server.connection.authenticateNone(), { code: "state" });
  assert.throws(() => server.connection.sendData(0, Buffer.alloc(1)), { code: "state" });
});
