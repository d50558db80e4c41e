// Serve: a job library of `@emartech/program-executor`, as it is, for Program Executor to call.
//
//   SECRET=whsec_… PORT=9010 node serve.js ./jobs
//
// A job that ends soon answers the call. A longer one is accepted with a 202, asks for more time
// while it runs, and says by the call's links how it ended. README.md tells what differs.
'use strict';

const http = require('node:http');
const path = require('node:path');
const { setTimeout: sleep } = require('node:timers/promises');
const { Webhook } = require('standardwebhooks');

const ANSWER_WITHIN_MS = 20_000;
const LINK_WITHIN_MS = 15_000;
const PAUSES_MS = [200, 1_000, 5_000, 15_000, 30_000];
const MOST_BYTES = 32 * 1024 * 1024;
const MOST_DONE = 10_000;
const MOST_CHARACTERS = 10_000;
const LATE = Symbol('late');
const STALE = 409;
const LATER = [STALE, 425, 429];

/** One run of a job: the newest links of its step, and how it will end. */
class Run {
  constructor(jobLibrary, call) {
    this.links = call.links;
    this.isAccepted = false;
    this.ended = execute(jobLibrary, call, this).then(() => null, asError);
  }

  /** Ask for more time until the job has ended, and then say how. */
  async accept(everyMs) {
    this.isAccepted = true;
    let error;
    while ((error = await this.within(everyMs)) === LATE) {
      await this.post('heartbeat', {}).catch(log);
    }
    await (error ? this.post('fail', { error }) : this.post('complete', {}));
  }

  /** Return null when the job has ended well, its error when not, or LATE. */
  within(ms) {
    return Promise.race([this.ended, sleep(ms, LATE, { ref: false })]);
  }

  post(link, body) {
    return this.send('POST', link, body);
  }

  /** Send to the newest link, for a while if need be. */
  async send(method, link, body) {
    const headers = { 'content-type': 'application/json' };
    const content = JSON.stringify(body);
    for (const pause of PAUSES_MS) {
      const url = this.links[link];
      const signal = AbortSignal.timeout(LINK_WITHIN_MS);
      const answer = await fetch(url, { method, headers, body: content, signal }).catch(log);
      const said = await answer?.text().catch(log);
      if (answer?.ok) return;
      const status = answer?.status ?? 503;
      if (status === STALE && url === this.links[link]) throw new StepMovedOn(link);
      if (status < 500 && !LATER.includes(status)) {
        throw new Error(`${link} answered ${status}: ${said}`);
      }
      await sleep(pause);
    }
    throw Object.assign(new Error(`${link}: the service does not answer`), { retryable: true });
  }
}

/** What `execute` gets as its second argument: the job data of this step. */
class JobDataHandler {
  constructor(run, jobData) {
    this._run = run;
    this._jobData = jobData;
    this._executionStarted = Date.now();
  }

  /** A null stands for a key that is gone: over HTTP job data can be merged, and not replaced. */
  async get() {
    const entries = Object.entries(this._jobData).filter(([, value]) => value !== null);
    return structuredClone(Object.fromEntries(entries));
  }

  set(jobData) {
    const gone = Object.keys(this._jobData).map((key) => [key, null]);
    return this.merge({ ...Object.fromEntries(gone), ...objectOf(jobData) });
  }

  async merge(jobData) {
    const entries = Object.entries(objectOf(jobData)).map(([key, value]) => [key, value ?? null]);
    const patch = JSON.parse(JSON.stringify(Object.fromEntries(entries)));
    await this._run.send('PATCH', 'job_data', patch);
    Object.assign(this._jobData, patch);
  }

  async checkpoint(jobData, milliseconds) {
    await this.merge(jobData);
    const elapsed = Date.now() - this._executionStarted;
    if (milliseconds && elapsed > milliseconds) throw new ExecutionTimeExceeded(elapsed);
  }
}

function objectOf(jobData) {
  if (typeof jobData !== 'object' || Array.isArray(jobData)) {
    throw new TypeError('job data are an object');
  }
  return jobData;
}

class ExecutionTimeExceeded extends Error {
  constructor(elapsed) {
    super(`Execution time exceeded (${elapsed} ms)`);
    this.code = 'execution_time_exceeded';
    this.executionTimeExceeded = true;
  }
}

class StepMovedOn extends Error {
  constructor(link) {
    super(`${link}: the step has moved on; it was cancelled, timed out, or done by another call`);
    this.retryable = true;
  }
}

async function execute(jobLibrary, call, run) {
  const { job, jobs, step, run_id: runId, program_data: programData } = call;
  if (!Object.hasOwn(jobLibrary, job)) throw new Error(`no job of this library is named '${job}'`);
  const message = { runId, jobs: jobs.slice(step), programData };
  const jobDataHandler = new JobDataHandler(run, { ...call.job_data });
  await jobLibrary[job].create(programData).execute(message, jobDataHandler);
}

/** Turn what a job threw into what the service understands. */
function asError(thrown) {
  const error = Object(thrown ?? new Error(`the job threw ${thrown}`));
  return {
    message: String(error.message || error).slice(0, MOST_CHARACTERS),
    retryable: Boolean(error.retryable || error.executionTimeExceeded),
    ignorable: Boolean(error.ignorable),
    code: error.code ? String(error.code).slice(0, 255) : undefined
  };
}

/** Answers calls; a step that is called again joins its run, or learns that it is done. */
class Desk {
  constructor(jobLibrary, answerWithinMs) {
    this._jobLibrary = jobLibrary;
    this._answerWithinMs = answerWithinMs;
    this._runs = new Map(); // by webhook-id
    this._done = new Set(); // webhook-ids, the oldest first
  }

  /** Return the status and the body of the answer. */
  async answer(key, call, timeoutMs) {
    if (call.type !== 'job.execute' || this._done.has(key)) return [204];
    const run = this._runs.get(key) ?? this._start(key, call);
    run.links = call.links;
    if (run.isAccepted) return [202, {}];
    const error = await run.within(Math.min(this._answerWithinMs, timeoutMs / 3));
    if (error === null) return [204];
    if (error !== LATE) return [200, { error }]; // a 5xx would count against the whole host
    if (!run.isAccepted) run.accept(timeoutMs / 3).catch(log);
    return [202, {}];
  }

  _start(key, call) {
    const run = new Run(this._jobLibrary, call);
    this._runs.set(key, run);
    run.ended.then((error) => {
      this._runs.delete(key);
      if (error === null) this._remember(key);
    });
    return run;
  }

  _remember(key) {
    this._done.add(key);
    if (this._done.size > MOST_DONE) this._done.delete(this._done.values().next().value);
  }
}

/** Return an HTTP server for a job library: {job name: class}. */
function serve(jobLibrary, { secret, answerWithinMs = ANSWER_WITHIN_MS }) {
  const webhook = new Webhook(secret);
  const desk = new Desk(jobLibrary, answerWithinMs);
  return http.createServer(async (request, response) => {
    const [status, body] = await read(request)
      .then((raw) => webhook.verify(raw, request.headers))
      .then(
        (call) => desk.answer(request.headers['webhook-id'], call, timeoutOf(request, call)),
        (error) => [401, { detail: `the signature does not fit: ${error.message}` }]
      )
      .catch((error) => [500, { detail: error.message }]);
    response.writeHead(status, body && { 'content-type': 'application/json' });
    response.end(body && JSON.stringify(body));
  });
}

async function read(request) {
  const chunks = [];
  let size = 0;
  for await (const chunk of request) {
    size += chunk.length;
    if (size > MOST_BYTES) throw new Error('the body is too long');
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

/** Return a job's time limit; both moments are the service's, whose clock may differ from ours. */
function timeoutOf(request, call) {
  const sentAt = Number(request.headers['webhook-timestamp']) * 1000;
  return Math.max(300, new Date(call.deadline) - sentAt);
}

function log(error) {
  console.error(`${new Date().toISOString()} ${error.message}`);
}

async function main([file]) {
  const { SECRET, ANSWER_WITHIN, HOST = '127.0.0.1', PORT = '9010' } = process.env;
  if (!file || !SECRET) throw new Error('usage: SECRET=whsec_… PORT=9010 node serve.js ./jobs');
  const jobs = await import(require.resolve(path.resolve(file)));
  const answerWithinMs = ANSWER_WITHIN ? Number(ANSWER_WITHIN) * 1000 : ANSWER_WITHIN_MS;
  const server = serve(jobs.default ?? jobs, { secret: SECRET, answerWithinMs });
  server.listen(Number(PORT), HOST, () => console.log(`listening on http://${HOST}:${PORT}`));
  process.once('SIGTERM', () => server.close()); // what runs may end, and then the process does
}

module.exports = { serve };

if (require.main === module) {
  main(process.argv.slice(2)).catch((error) => {
    log(error);
    process.exitCode = 1;
  });
}
