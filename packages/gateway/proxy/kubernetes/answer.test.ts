// How far a list runs ahead of its client, with a real socket that is not read.

import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type ServerResponse } from "node:http";
import { type AddressInfo, connect } from "node:net";
import { it } from "node:test";
import { type AnswerPlan, relayAnswer } from "./answer.ts";
import { FedBody } from "./answer-body.ts";

const CHUNK_BYTES = 64 << 10;
/** More than the kernel keeps for a connection. */
const MOST_BYTES = 64 << 20;

const PLAN = {
  ...{ requestId: "r-1", scrubErrors: false, maxObjectBytes: 1 << 20 },
  mask: { apply: (bytes: Buffer) => bytes },
  obligations: {},
  recorder: { typed() {}, data() {}, room: () => true, delivery: () => true },
  signal: new AbortController().signal,
} as unknown as AnswerPlan;

/** Elements of a list, without end. */
const ELEMENTS = Buffer.from(`${JSON.stringify({ data: "x".repeat(CHUNK_BYTES - 20) })},`);

it("hands a list on until its bound is written and not taken, and goes on when it is", async () => {
  const responses = Promise.withResolvers<ServerResponse>();
  await using server = createServer((_request, response) => responses.resolve(response));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const client = connect((server.address() as AddressInfo).port, "127.0.0.1").pause();
  client.write("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
  const response = await responses.promise;
  let isPaused = false;
  const body = new FedBody({
    pause: () => {
      isPaused = true;
    },
    resume: () => {
      isPaused = false;
    },
    destroy: () => undefined,
  });
  const headers = { "content-type": "application/json" };
  const relayed = relayAnswer({ status: 200, headers, body }, response, {
    ...PLAN,
    form: "objects",
  });
  body.push(Buffer.from('{"kind":"PodList","items":['));
  let pushed = 0;
  for (; !isPaused && pushed < MOST_BYTES; pushed += ELEMENTS.length) {
    body.push(ELEMENTS);
    await new Promise(setImmediate);
  }
  assert.equal(isPaused, true);
  const { writableLength } = response;
  assert.ok(writableLength > 128 << 10, `${writableLength} bytes are on their way`);
  assert.ok(writableLength < 512 << 10, `${writableLength} bytes wait for the client`);

  let read = 0;
  client.on("data", (data) => {
    read += data.length;
  });
  client.resume();
  while (isPaused) await new Promise(setImmediate);
  body.push(Buffer.from('{"data":1}]}'));
  body.end();
  const { bytes } = await relayed;
  client.end();
  await once(client, "close");
  assert.ok(read > bytes);
  assert.ok(bytes > pushed);
});
