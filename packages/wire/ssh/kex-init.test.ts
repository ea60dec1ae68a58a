import assert from "node:assert/strict";
import { test } from "node:test";
import { decodeKexInit, encodeKexInit } from "./kex-init.ts";

test("a list that ends with a comma, as libssh 0.10 sends it, is the list without it", () => {
  const init = {
    ...{ kex: ["a"], hostKey: ["b"], cipherToServer: ["c", "d"], cipherToClient: ["e"] },
    ...{ macToServer: ["f"], macToClient: ["g"], firstKexPacketFollows: false },
    ...{ compressionToServer: ["none"], compressionToClient: ["none"] },
  };
  const plain = encodeKexInit(init, Buffer.alloc(16));
  const at = plain.indexOf("c,d");
  const trailing = Buffer.concat([
    plain.subarray(0, at),
    Buffer.from("c,d,"),
    plain.subarray(at + 3),
  ]);
  trailing.writeUInt32BE(4, at - 4);
  assert.deepEqual(decodeKexInit(trailing), init);
});
