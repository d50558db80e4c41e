// The main job, by a client with types that openapi-typescript has generated; test_clients.py runs it.
import assert from "node:assert/strict";
import createClient from "openapi-fetch";
import type { components, paths } from "./api.js";

type Program = components["schemas"]["Program"];
type Problem = components["schemas"]["Problem"];

const [, , address, folder] = process.argv;
const client = createClient<paths>({ baseUrl: address ?? "" });

const submitted = await client.POST("/programs", {
  body: {
    jobs: ["charge", "write_invoice"],
    program_data: { card: "4242", cents: 1999, folder },
    labels: { by: "typescript" },
  },
});
assert(submitted.data, submitted.error?.detail ?? "");
const run_id: string = submitted.data.run_id;

const ended = await client.GET("/programs/{run_id}", {
  params: { path: { run_id }, header: { prefer: "wait=30" } },
});
const program: Program | undefined = ended.data;
assert.equal(program?.status, "finished");
assert.deepEqual(program?.progress, { done: 2, total: 2 });

const listed = await client.GET("/programs", {
  params: { query: { label: ["by:typescript"], status: "finished" } },
});
assert.deepEqual(listed.data?.programs.map((each) => each.run_id), [run_id]);

const attempts = await client.GET("/programs/{run_id}/attempts", { params: { path: { run_id } } });
assert.deepEqual(
  attempts.data?.attempts.map(({ job, outcome }) => [job, outcome]),
  [["charge", "done"], ["write_invoice", "done"]],
);

const later = await client.POST("/programs", {
  body: { jobs: ["charge"], start_at: "2999-01-01T00:00:00Z" },
});
assert(later.data);
const cancelled = await client.POST("/programs/{run_id}/cancel", {
  params: { path: { run_id: later.data.run_id } },
});
assert.equal(cancelled.data?.status, "cancelled");

const refused = await client.POST("/programs/{run_id}/cancel", { params: { path: { run_id } } });
const problem: Problem | undefined = refused.error;
assert.equal(problem?.code, "already_final");

const unknown = await client.POST("/programs", { body: { jobs: ["chrage"] } });
assert.equal(unknown.error?.errors?.[0]?.hint, "did you mean 'charge'?");
console.log("typescript: fine");
