import assert from "node:assert/strict";
import { mock, test } from "node:test";
import { createRowCloser } from "./row-closer.ts";

test("an end that the store did not take is written once it does, with its own time", () => {
  mock.timers.enable({ apis: ["setTimeout"] });
  try {
    let locked = true;
    const rows: [string, number, string][] = [];
    using closer = createRowCloser({
      close: (id, atMs, reason) => {
        if (locked) throw new Error("locked");
        rows.push([id, atMs, reason]);
      },
    });
    closer.close("s-1", 10, "closed");
    closer.close("s-2", 20, "closed");
    mock.timers.tick(1000);
    assert.deepEqual(rows, []);
    locked = false;
    mock.timers.tick(1000);
    assert.deepEqual(rows, [
      ["s-1", 10, "closed"],
      ["s-2", 20, "closed"],
    ]);
    closer.close("s-3", 30, "closed");
    assert.equal(rows.length, 3);
  } finally {
    mock.timers.reset();
  }
});
