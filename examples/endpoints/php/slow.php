<?php

// Slow: the slow job, in a process of its own, `php slow.php WEBHOOK-ID`.

declare(strict_types=1);

require __DIR__ . '/store.php';

if (PHP_SAPI === 'cli') {
    slow($argv[1]);
}

/** Work in rounds, ask for more time after each, and say how it ended. */
function slow(string $key): void
{
    $lock = fopen(path($key, 'lock'), 'c');
    flock($lock, LOCK_EX); // a step that is called again meanwhile waits here, and finds the answer
    if (read($key, 'answer')) {
        return;
    }
    $order = read($key, 'call')['program_data'];
    if (!isset($order['rounds'])) {
        post($key, 'fail', ['error' => ['message' => 'how many rounds?', 'retryable' => false]]);
        return;
    }
    for ($round = 0; $round < $order['rounds']; $round++) {
        usleep((int) (($order['pause_s'] ?? 1) * 1_000_000));
        if (post($key, 'heartbeat', (object) []) === 409) {
            return; // the step has moved on: it was cancelled, or out of time
        }
    }
    $answer = write($key, 'answer', ['job_data' => ['rounds' => $order['rounds']]]);
    post($key, 'complete', $answer);
}

/** Post to the newest link, for a while if need be, and return the status of the answer. */
function post(string $key, string $link, array|object $body): int
{
    $request = ['method' => 'POST', 'header' => 'content-type: application/json',
        'content' => json_encode($body), 'ignore_errors' => true, 'timeout' => 15];
    foreach ([200_000, 1_000_000, 5_000_000, 30_000_000] as $pause) {
        $url = read($key, 'call')['links'][$link];
        $stream = @fopen($url, 'r', false, stream_context_create(['http' => $request]));
        $line = $stream ? stream_get_meta_data($stream)['wrapper_data'][0] : 'HTTP/1.1 503';
        $status = (int) explode(' ', $line)[1];
        if ($status < 500) {
            return $status;
        }
        usleep($pause); // the service restarts, perhaps
    }
    return 503;
}
