// Endpoint: a quick and a slow job over HTTP, in Node with its own server.
'use strict';

const http = require('node:http');
const { setTimeout: sleep } = require('node:timers/promises');
const { Webhook, WebhookVerificationError } = require('standardwebhooks');

const webhook = new Webhook(process.env.SECRET);
const answers = new Map(); // webhook-id → answer; keep yours in a database, beside the effect
const running = new Map(); // webhook-id → the newest links

/** Run a job, unless this step was done already or is being worked on; return status and body. */
function execute(job, key, call) {
  if (answers.has(key)) return [200, answers.get(key)];
  if (job === '/slow') {
    const isNew = !running.has(key);
    running.set(key, call.links);
    if (isNew) slow(key, call.program_data);
    return [202, {}];
  }
  const { prices } = call.program_data;
  if (!prices?.length) return [422, { error: { message: 'no prices', retryable: false } }];
  answers.set(key, { job_data: { total: prices.reduce((sum, price) => sum + price) } });
  return [200, answers.get(key)];
}

/** Work in rounds, ask for more time after each, and say how it ended. */
async function slow(key, { rounds, pause_s: pause = 1 }) {
  try {
    if (!Number.isInteger(rounds)) throw new TypeError('rounds: how many?');
    for (let round = 0; round < rounds; round++) {
      await sleep(pause * 1000);
      const links = running.get(key);
      if ((await post(links.heartbeat, {})) === 409 && running.get(key) === links) {
        return running.delete(key); // the step has moved on: it was cancelled, or out of time
      }
    }
    answers.set(key, { job_data: { rounds } });
    return report(key, 'complete', answers.get(key));
  } catch (error) {
    const failure = { message: error.message, retryable: !(error instanceof TypeError) };
    return report(key, 'fail', { error: failure });
  }
}

function report(key, link, body) {
  const links = running.get(key);
  running.delete(key);
  return post(links[link], body);
}

/** Post to a link, for a while if need be, and return the status of the answer. */
async function post(link, body) {
  const headers = { 'content-type': 'application/json' };
  for (const pause of [200, 1000, 5000, 30000]) {
    try {
      const answer = await fetch(link, { method: 'POST', headers, body: JSON.stringify(body) });
      if (answer.status < 500) return answer.status;
    } catch {
      // the service restarts, perhaps
    }
    await sleep(pause);
  }
  return 503;
}

http.createServer(async (request, response) => {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  let status, body;
  try {
    const call = webhook.verify(Buffer.concat(chunks), request.headers);
    [status, body] = execute(request.url, request.headers['webhook-id'], call);
  } catch (error) {
    [status, body] = [error instanceof WebhookVerificationError ? 401 : 500, { detail: error.message }];
  }
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
}).listen(Number(process.env.PORT ?? 9002), process.env.HOST ?? '127.0.0.1');
