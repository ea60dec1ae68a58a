// The part of the story on a cluster: a sub-agent lists pods, sees Secrets masked, is refused a shell in a
// container, has a removal held and approved. The API server is the light one that `npm test` uses too,
// made of what a real one answered; what asks is kubectl where there is one (kubernetes-client.ts).

import type { TokenResponse } from "@custody/contract/oauth.ts";
import { type ClusterAgent, openClusterAgent } from "./kubernetes-client.ts";
import {
  type Actor,
  actor,
  custodyJson,
  must,
  nextRequest,
  type Play,
  type Step,
  signIn,
} from "./play.ts";
import { CLUSTER, OLD_OBJECT, POD, SECRET_NAME } from "./stage.ts";

export const onACluster: readonly Step[] = [
  { title: "On a cluster: a sub-agent of the release lists pods", run: listed },
  { title: "The cluster's Secrets come to it masked", run: maskedSecrets },
  { title: "Its sh -c in a container is refused before the container hears of it", run: noShell },
  { title: "Its delete waits for an operator, then runs once", run: heldDelete },
];

const NAMESPACE = "/api/v1/namespaces/shop";
const MASK = Buffer.from("[masked secret.k8s]").toString("base64");

async function listed(play: Play): Promise<string> {
  const { cluster } = play.stage;
  const job = await delegate(play, actor(play, "engineer"), "release-job", "1h");
  await delegate(play, job, "cluster-agent", "10m");
  const path = `${NAMESPACE}/pods`;
  const agent = await agentOf(play);
  const got = await agent.run({ kubectl: ["get", "pods"], method: "GET", path });
  must(got.succeeded && got.output.includes(POD), `it does not list the pods: ${got.output}`);
  const seen = cluster.requests.findLast((one) => one.path.startsWith(path));
  must(seen?.impersonated === "custody:corp/engineer", `it asked as ${seen?.impersonated}`);
  must(
    seen.chain?.includes("release-job > cluster-agent") === true,
    `the cluster was not told of the chain: ${seen.chain}`,
  );
  play.screen.answer(`the API server was asked as ${seen.impersonated}: ${seen.chain}`);
  play.screen.why("The gateway impersonates the requestor; the agent has no credential of it.");
  return "its pods, and the cluster's own log names the engineer and the chain";
}

async function maskedSecrets(play: Play): Promise<string> {
  const agent = await agentOf(play);
  const got = await agent.run({
    kubectl: ["get", "secret", SECRET_NAME, "-o", "yaml"],
    ...{ method: "GET", path: `${NAMESPACE}/secrets/${SECRET_NAME}` },
  });
  must(got.succeeded && got.output.includes(MASK), `there is no mask in it: ${got.output}`);
  const value = play.stage.cluster.secretValue;
  for (const form of [value, Buffer.from(value).toString("base64")])
    must(!got.output.includes(form), "the value came through");
  play.screen.why("Data of Secrets is classified everywhere; a mask is base64 as the value was.");
  return "the Secret, with each value masked";
}

async function noShell(play: Play): Promise<string> {
  const words = ["sh", "-c", "cat /run/secrets/* | base64"];
  const agent = await agentOf(play);
  const query = words.map((word) => `command=${encodeURIComponent(word)}`).join("&");
  const got = await agent.run({
    kubectl: ["exec", POD, "--", ...words],
    ...{ method: "GET", isExec: true },
    path: `${NAMESPACE}/pods/${POD}/exec?${query}&container=web&stdout=true&stderr=true`,
  });
  must(!got.succeeded, "it ran");
  must(/Custody denied/.test(got.output), `it was not told why: ${got.output}`);
  must(
    !play.stage.cluster.requests.some(({ path }) => path.includes("/exec")),
    "the API server was asked for it",
  );
  play.screen.why("What a shell would read out of it is code nobody has read: exec_code.");
  return "refused with its reason; nothing of it was sent to the cluster";
}

async function heldDelete(play: Play): Promise<string> {
  const { cluster } = play.stage;
  const agent = await agentOf(play);
  const pending = agent.run({
    kubectl: ["delete", "configmap", OLD_OBJECT, "--wait=false"],
    ...{ method: "DELETE", path: `${NAMESPACE}/configmaps/${OLD_OBJECT}` },
  });
  pending.catch(() => undefined);
  const operator = play.actors.get("operator") ?? (await signIn(play, "operator"));
  const request = await nextRequest(operator, OLD_OBJECT);
  play.screen.answer(`${request.id}: ${request.command}`);
  must(cluster.has("configmaps", OLD_OBJECT), "it was removed before anybody approved it");
  await custodyJson(play, operator, ["approve", request.id, "--reason", "old, ticket 4713"]);
  const ran = await pending;
  must(ran.succeeded, `it ended with: ${ran.output}`);
  must(!cluster.has("configmaps", OLD_OBJECT), "it is still there");
  const removals = cluster.requests.filter(({ method }) => method === "DELETE");
  must(removals.length === 1, `the API server was asked ${removals.length} times`);
  await agent.close();
  play.screen.why("removals-need-an-operator: bound to this method, path, query and body.");
  return "it ran after an operator approved it, once";
}

const agents = new WeakMap<Play, ClusterAgent>();

async function agentOf(play: Play): Promise<ClusterAgent> {
  const known = agents.get(play);
  if (known !== undefined) return known;
  const opened = await openClusterAgent(play, actor(play, "cluster-agent"));
  agents.set(play, opened);
  return opened;
}

async function delegate(play: Play, parent: Actor, name: string, ttl: string): Promise<Actor> {
  const issued = await custodyJson<TokenResponse>(play, parent, [
    ...["delegate", "--actor", name, "--target", CLUSTER, "--account", "edit"],
    ...["--actions", "k8s:data", "--resources", "*", "--ttl", ttl, "--handle"],
  ]);
  const child: Actor = {
    ...{ name, home: play.stage.home(name) },
    ...{ handle: issued.access_token, delegationId: issued.delegation_id },
  };
  play.actors.set(name, child);
  return child;
}
