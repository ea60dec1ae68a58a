import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { requestInfo } from "@custody/wire/kubernetes/request-info.ts";
import { parseRequestUrl } from "@custody/wire/kubernetes/request-url.ts";
import { previewOf } from "./preview.ts";
import { readBody } from "./request-body.ts";

describe("what an approver is shown", () => {
  it("is not found out for a write of more than anybody reads", async () => {
    const url = parseRequestUrl("/api/v1/namespaces/shop/configmaps/c");
    const body = readBody(Buffer.from(`{"data":{"a":"${"x".repeat(300_000)}"}}`), undefined);
    const held = { requestId: "r-1", method: "PUT", info: requestInfo("PUT", url), url, body };
    // Nothing of these is looked at: nobody is asked.
    const session = { target: { preview: "live" } } as never;
    const { signal } = new AbortController();
    const parts = await previewOf({} as never, session, held, {} as never, signal);
    assert.deepEqual(parts, [
      { title: "What it changes", text: "What it writes is too large to be compared here." },
    ]);
  });
});
