import assert from "node:assert/strict";
import { test } from "node:test";
import { signAwsRequest } from "./aws-signature.ts";

// The examples of "Authenticating Requests: Using the Authorization Header" in the S3 API reference.
const KEY = { id: "AKIAIOSFODNN7EXAMPLE", secret: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY" };
const AT = Date.parse("2013-05-24T00:00:00Z");
const BUCKET = "https://examplebucket.s3.amazonaws.com";

const EXAMPLES = [
  {
    method: "GET",
    path: "/test.txt",
    headers: { range: "bytes=0-9" },
    body: "",
    signature: "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
  },
  {
    method: "PUT",
    path: "/test$file.text",
    headers: {
      date: "Fri, 24 May 2013 00:00:00 GMT",
      "x-amz-storage-class": "REDUCED_REDUNDANCY",
    },
    body: "Welcome to Amazon S3.",
    signature: "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
  },
  {
    method: "GET",
    path: "/?lifecycle",
    headers: {},
    body: "",
    signature: "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
  },
  {
    method: "GET",
    path: "/?max-keys=2&prefix=J",
    headers: {},
    body: "",
    signature: "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
  },
];

test("requests are signed as in the reference's examples", () => {
  for (const { method, path, headers, body, signature } of EXAMPLES) {
    const url = new URL(path, BUCKET);
    const sent = signAwsRequest({ method, url, headers, body }, KEY, "us-east-1", AT);
    assert.equal(sent.authorization?.split("Signature=")[1], signature, `${method} ${path}`);
    assert.equal(sent["x-amz-date"], "20130524T000000Z");
  }
});
