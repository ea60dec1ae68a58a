import assert from "node:assert/strict";
import test from "node:test";
import { findSecrets } from "./leaks.ts";

const secret = "c0rrect-h0rse_battery";
const secrets = new Map([["the password", secret]]);
const bytes = Buffer.from(secret);

test("a secret is found as it is and in every form a program would leave it in", () => {
  const around = (inner: string) => Buffer.from(`noise before ${inner} and after`);
  const hidden: [string, Buffer][] = [
    ["as it is", around(secret)],
    ["hex", around(bytes.toString("hex"))],
    ["reversed", around([...secret].reverse().join(""))],
    ["UTF-16", Buffer.from(`x${secret}y`, "utf16le")],
  ];
  for (const [form, place] of hidden)
    assert.deepEqual(findSecrets(secrets, [{ name: "a log", bytes: place }]), [
      `the password in a log (${form})`,
    ]);
});

test("a secret is found in base64 wherever in the encoded text it begins", () => {
  for (const before of ["", "1", "12", "123", "1234"])
    for (const encoding of ["base64", "base64url"] as const) {
      const place = Buffer.from(Buffer.from(`${before}${secret} after`).toString(encoding));
      const found = findSecrets(secrets, [{ name: "a dump", bytes: place }]);
      assert.ok(found.length > 0, `${encoding} after ${before.length} characters`);
    }
});

test("what is not there is not found", () => {
  const place = { name: "a log", bytes: Buffer.from("nothing but the correct horse") };
  assert.deepEqual(findSecrets(secrets, [place]), []);
});
