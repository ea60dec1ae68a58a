import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { openTestDoor, type TestDoor } from "../../../../conformance/support/kubernetes-door.ts";
import { engineer, policy } from "../../access/access.fixture.ts";
import { isPlainError, plainWarnings, scrubbedStatus } from "./error-text.ts";

const VALUE = "c4nary-value";

const told = (reason: string, message: string) =>
  Buffer.from(JSON.stringify({ kind: "Status", status: "Failure", code: 403, reason, message }));

describe("the text of an error", () => {
  const plain: readonly (readonly [string, string])[] = [
    ["NotFound", `secrets "s1" not found`],
    ["AlreadyExists", `deployments.apps "web" already exists`],
    [
      "Forbidden",
      `secrets "s1" is forbidden: User "custody:corp/ann" cannot patch resource "secrets" in API group "" in the namespace "shop"`,
    ],
    [
      "Forbidden",
      `secrets is forbidden: User "a" cannot list resource "secrets" in API group "" at the cluster scope: RBAC: clusterrole.rbac.authorization.k8s.io "x" not found`,
    ],
    [
      "Forbidden",
      `pods "p" is forbidden: exceeded quota: q, requested: pods=1, used: pods=2, limited: pods=2`,
    ],
    [
      "Conflict",
      `Operation cannot be fulfilled on secrets "s1": the object has been modified; please apply your changes to the latest version and try again`,
    ],
    ["Expired", "too old resource version: 1 (2)"],
  ];
  for (const [reason, message] of plain)
    it(`is shown of ${message.slice(0, 60)}`, () => assert.ok(isPlainError(told(reason, message))));

  const own: readonly (readonly [string, string])[] = [
    [
      "Forbidden",
      `secrets "s1" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: ${VALUE}`,
    ],
    ["Forbidden", `admission webhook "w.example.com" denied the request: ${VALUE}`],
    ["NotFound", `admission webhook "w.example.com" denied the request: ${VALUE} not found`],
    ["Conflict", `admission webhook "w" denied the request: ${VALUE}`],
    ["AlreadyExists", VALUE],
    ["Invalid", `Secret "s1" is invalid: data[key]: Invalid value: "${VALUE}"`],
    ["constructor", VALUE],
    ["", VALUE],
  ];
  for (const [reason, message] of own)
    it(`is withheld of ${reason}: ${message.slice(0, 60)}`, () => {
      assert.ok(!isPlainError(told(reason, message)));
      assert.ok(!scrubbedStatus(told(reason, message), "r-1").includes(VALUE));
    });

  it("is withheld where the reason is a sentence", () => {
    const scrubbed = scrubbedStatus(told(`it holds ${VALUE}`, ""), "r-1").toString();
    assert.ok(!scrubbed.includes(VALUE));
    assert.equal((JSON.parse(scrubbed) as { code: number }).code, 403);
  });
});

describe("warnings", () => {
  const plain = [
    `299 - "unknown field \\"spec.x\\""`,
    `299 - "v1 ComponentStatus is deprecated in v1.19+"`,
    `299 - "spec.containers[0].env[1]: hides previous definition of \\"A\\", which may be dropped when using apply"`,
  ];
  it("are shown where they name members and versions", () => {
    assert.deepEqual(plainWarnings(plain), plain);
    assert.deepEqual(plainWarnings(plain.join(", ")), plain);
    assert.deepEqual(plainWarnings(undefined), []);
  });
  it("are withheld where they are somebody's own", () => {
    const policies = `299 - "Validation failed for ValidatingAdmissionPolicy 'p' with binding 'b': ${VALUE}"`;
    assert.deepEqual(
      plainWarnings([policies, `299 - "${VALUE}"`, plain[0] ?? ""]),
      plain.slice(0, 1),
    );
    assert.deepEqual(plainWarnings(`${policies}, ${plain[0]}`), plain.slice(0, 1));
  });
});

describe("an error on its way", () => {
  let door: TestDoor;
  before(async () => {
    door = await openTestDoor({
      answer: (request, answer) => {
        if (request.url?.includes("gone"))
          return answer
            .writeHead(404, { "content-type": "text/plain" })
            .end("404 page not found\n");
        if (request.url?.includes("busy"))
          return answer.writeHead(503, { "content-type": "text/html" }).end(`<p>${VALUE}</p>`);
        answer.setHeader("warning", [`299 - "${VALUE}"`, `299 - "unknown field \\"spec.x\\""`]);
        answer.writeHead(403, { "content-type": "application/json" });
        return answer.end(
          told("Forbidden", `x is forbidden: ValidatingAdmissionPolicy 'p': ${VALUE}`),
        );
      },
      policies: policy(`
        @id("all") permit (principal, action, resource)
        unless { action == Custody::Action::"unmask" };
      `),
      hops: [engineer],
    });
  });
  after(() => door[Symbol.asyncDispose]());

  it("that is no Status becomes one, of the same code", async () => {
    for (const path of ["gone", "gone/x", "gone/x?watch=1", "busy"]) {
      const answer = await door.ask(`/apis/example.com/v1/namespaces/shop/${path}`);
      const text = await answer.text();
      assert.equal(answer.headers.get("content-type"), "application/json", path);
      const status = JSON.parse(text) as { kind: string; code: number; message: string };
      assert.equal(status.kind, "Status");
      assert.equal(status.code, answer.status);
      assert.equal(answer.status, path === "busy" ? 503 : 404);
      assert.ok(!text.includes(VALUE));
      if (answer.status === 404)
        assert.equal(status.message, "the server could not find the requested resource");
    }
  });

  it("has no words of others, nor have its warnings", async () => {
    const answer = await door.ask("/api/v1/namespaces/shop/secrets/s1", {
      method: "DELETE",
    });
    const text = await answer.text();
    assert.equal(answer.status, 403);
    assert.ok(!text.includes(VALUE), text);
    assert.equal(answer.headers.get("warning"), `299 - "unknown field \\"spec.x\\""`);
  });
});
