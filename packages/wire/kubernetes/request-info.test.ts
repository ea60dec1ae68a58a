import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { KubernetesWireError } from "./errors.ts";
import { requestInfo } from "./request-info.ts";
import { formatRequestUrl, parseRequestUrl } from "./request-url.ts";

/** method, target → verb, namespace, group, resource, subresource, name. From requestinfo_test.go's cases. */
const RESOURCES: readonly (readonly [
  string,
  string,
  string,
  string,
  string,
  string,
  string,
  string,
])[] = [
  ["GET", "/api/v1/namespaces", "list", "", "", "namespaces", "", ""],
  ["GET", "/api/v1/namespaces/other", "get", "other", "", "namespaces", "", "other"],
  ["GET", "/api/v1/namespaces/other/pods", "list", "other", "", "pods", "", ""],
  ["GET", "/api/v1/namespaces/other/pods/foo", "get", "other", "", "pods", "", "foo"],
  ["HEAD", "/api/v1/namespaces/other/pods/foo", "get", "other", "", "pods", "", "foo"],
  ["GET", "/api/v1/pods", "list", "", "", "pods", "", ""],
  ["HEAD", "/api/v1/pods", "list", "", "", "pods", "", ""],
  ["GET", "/api/v1/pods?watch=true", "watch", "", "", "pods", "", ""],
  ["GET", "/api/v1/pods?watch=false", "list", "", "", "pods", "", ""],
  ["GET", "/api/v1/pods?watch=0&watch=1", "list", "", "", "pods", "", ""],
  ["GET", "/api/v1/pods?watch=1", "watch", "", "", "pods", "", ""],
  ["GET", "/api/v1/pods?watch", "watch", "", "", "pods", "", ""],
  ["GET", "/api/v1/pods?watch=yes", "watch", "", "", "pods", "", ""],
  ["GET", "/api/v1/pods?fieldSelector=metadata.name%3Dfoo", "list", "", "", "pods", "", "foo"],
  [
    "GET",
    "/api/v1/namespaces/other/pods?watch=1&fieldSelector=metadata.name=foo",
    "watch",
    "other",
    "",
    "pods",
    "",
    "foo",
  ],
  [
    "GET",
    "/api/v1/namespaces/other/pods?fieldSelector=metadata.name!=foo",
    "list",
    "other",
    "",
    "pods",
    "",
    "",
  ],
  ["GET", "/api/v1/watch/pods", "watch", "", "", "pods", "", ""],
  ["GET", "/api/v1/watch/namespaces/other/pods", "watch", "other", "", "pods", "", ""],
  ["GET", "/api/v1/watch/namespaces/other/pods/foo", "watch", "other", "", "pods", "", "foo"],
  ["GET", "/api/v1/proxy/namespaces/other/pods/foo", "proxy", "other", "", "pods", "", "foo"],
  [
    "GET",
    "/api/v1/proxy/namespaces/other/pods/foo/exec/x",
    "proxy",
    "other",
    "",
    "pods",
    "",
    "foo",
  ],
  ["GET", "/api/v1/namespaces/other/pods/foo/status", "get", "other", "", "pods", "status", "foo"],
  ["GET", "/api/v1/namespaces/other/status", "get", "other", "", "namespaces", "status", "other"],
  [
    "PUT",
    "/api/v1/namespaces/other/finalize",
    "update",
    "other",
    "",
    "namespaces",
    "finalize",
    "other",
  ],
  ["GET", "/api/v1/namespaces/other/finalizers", "list", "other", "", "finalizers", "", ""],
  [
    "GET",
    "/api/v1/namespaces/other/pods/foo/proxy/metrics",
    "get",
    "other",
    "",
    "pods",
    "proxy",
    "foo",
  ],
  ["GET", "/api/v1/nodes/n1/proxy/run/x", "get", "", "", "nodes", "proxy", "n1"],
  ["POST", "/api/v1/namespaces/other/pods", "create", "other", "", "pods", "", ""],
  ["PUT", "/api/v1/namespaces/other/pods/foo", "update", "other", "", "pods", "", "foo"],
  ["PATCH", "/api/v1/namespaces/other/pods/foo", "patch", "other", "", "pods", "", "foo"],
  ["DELETE", "/api/v1/namespaces/other/pods/foo", "delete", "other", "", "pods", "", "foo"],
  ["DELETE", "/api/v1/namespaces/other/pods", "deletecollection", "other", "", "pods", "", ""],
  ["DELETE", "/api/v1/nodes", "deletecollection", "", "", "nodes", "", ""],
  [
    "GET",
    "/apis/apps/v1/namespaces/other/deployments/web/scale",
    "get",
    "other",
    "apps",
    "deployments",
    "scale",
    "web",
  ],
  ["GET", "/apis/apps/v1/deployments", "list", "", "apps", "deployments", "", ""],
  [
    "GET",
    "/apis/rbac.authorization.k8s.io/v1/clusterroles/system%3Anode",
    "get",
    "",
    "rbac.authorization.k8s.io",
    "clusterroles",
    "",
    "system:node",
  ],
  ["TRACE", "/api/v1/pods", "", "", "", "pods", "", ""],
];

describe("request-info", () => {
  for (const [method, target, verb, namespace, group, resource, subresource, name] of RESOURCES)
    it(`${method} ${target}`, () => {
      const info = requestInfo(method, parseRequestUrl(target));
      assert.ok(info.isResource);
      const { rest: _, version: __, isResource: ___, ...others } = info;
      assert.deepEqual(others, { verb, namespace, group, resource, subresource, name });
    });

  for (const target of [
    "/",
    "/api",
    "/api/v1",
    "/apis",
    "/apis/apps",
    "/apis/apps/v1",
    "/healthz",
    "/version",
    "/openapi/v3/apis/apps/v1",
    "/other/v1/pods/x",
  ])
    it(`${target} is no resource`, () => {
      assert.equal(requestInfo("GET", parseRequestUrl(target)).isResource, false);
    });

  it("refuses a special verb without a kind", () => {
    assert.throws(() => requestInfo("GET", parseRequestUrl("/api/v1/watch")), KubernetesWireError);
  });
});

describe("request-url", () => {
  for (const target of [
    "/api/v1/namespaces%2Fdefault%2Fsecrets%2Fs1",
    "/api//v1/pods",
    "//api/v1/pods",
    "/api/v1/pods//",
    "/api/v1/./pods",
    "/api/v1/../pods",
    "/api/v1/%2e%2e/pods",
    "/api/v1/pods/%00",
    "/api/v1/pods/a%25b",
    "/api/v1/pods/*",
    "/api/v1/pods/%2A",
    "/api/v1/pods%3Fwatch=1",
    "/api/v1/pods/%zz",
    "/api/v1/pods/%ff",
    "/api/v1\\pods",
    "/api/v1/pods#x",
    "http://elsewhere/api/v1/pods",
    "/api/v1/pods?watch=1;x=2",
    "/api/v1/pods?x=%f",
    "/api/v1/pods?x=\u00e9",
    `/api/v1/pods?x=${"a".repeat(70_000)}`,
    `/api/v1/namespaces/shop/pods/${"a".repeat(513)}`,
  ])
    it(`refuses ${target.slice(0, 60)}`, () => {
      assert.throws(() => parseRequestUrl(target), KubernetesWireError);
    });

  it("has one way of writing", () => {
    const canonical = (target: string) => formatRequestUrl(parseRequestUrl(target));
    assert.equal(canonical("/api/v1/%73ecrets/?limit=5"), "/api/v1/secrets?limit=5");
    assert.equal(canonical("/a/system%3Anode?x=a+b&y"), "/a/system:node?x=a%20b&y=");
    assert.equal(canonical("/"), "/");
  });

  it("gives back what was taken apart", () => {
    const segment = fc.stringMatching(/^[a-z0-9:@+=,~_-]{1,12}$/);
    const pair = fc.tuple(fc.string({ unit: "grapheme" }), fc.string({ unit: "grapheme" }));
    fc.assert(
      fc.property(
        fc.array(segment, { maxLength: 8 }),
        fc.array(pair, { maxLength: 6 }),
        (segments, query) => {
          const written = formatRequestUrl({ segments, query });
          assert.deepEqual(parseRequestUrl(written), { segments, query });
        },
      ),
    );
  });
});
