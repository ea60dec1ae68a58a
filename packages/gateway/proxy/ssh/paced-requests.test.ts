// Requests that no window bounds.

import assert from "node:assert/strict";
import test from "node:test";
import type { ChannelRequest } from "@custody/wire/ssh/requests.ts";
import { PacedRequests } from "./paced-requests.ts";

const size = (columns: number): ChannelRequest => ({
  kind: "window-change",
  size: { columns, rows: 24, widthPixels: 0, heightPixels: 0 },
});
const signal = (name: string): ChannelRequest => ({ kind: "signal", signal: name });

function paced() {
  const passed: ChannelRequest[] = [];
  const again: (() => void)[] = [];
  let room = 0;
  const requests = new PacedRequests({
    isFree(later) {
      if (room > 0) return true;
      again.push(later);
      return false;
    },
    pass(request) {
      room -= 1;
      passed.push(request);
    },
  });
  const open = (free: number): void => {
    room = free;
  };
  return { requests, passed, again, open };
}

test("while the host reads each request goes at once, in its order", () => {
  const { requests, passed, open } = paced();
  open(100);
  for (const request of [size(80), signal("INT"), size(81), signal("INT")]) requests.take(request);
  assert.deepEqual(passed, [size(80), signal("INT"), size(81), signal("INT")]);
});

test("while it does not, one of each is kept: the last size", () => {
  const { requests, passed, again, open } = paced();
  for (let at = 0; at < 10_000; at++) {
    assert.ok(requests.take(size(at)));
    assert.ok(requests.take(signal("INT")));
  }
  assert.deepEqual([passed, again.length], [[], 1]);
  open(1);
  again.shift()?.();
  assert.deepEqual([passed, again.length], [[size(9999)], 1]);
  open(100);
  again.shift()?.();
  assert.deepEqual(passed, [size(9999), signal("INT")]);
  assert.ok(requests.take(size(1)));
  assert.deepEqual(passed.at(-1), size(1));
});

test("names of signals that a client makes up are refused where many wait, and nothing goes after the end", () => {
  const { requests, passed, again, open } = paced();
  const taken = Array.from({ length: 1000 }, (_, at) => requests.take(signal(`S${at}`)));
  assert.equal(taken.filter(Boolean).length, 32);
  requests.close();
  open(100);
  again.shift()?.();
  assert.deepEqual(passed, []);
});
