<?php

// Endpoint: a quick and a slow job over HTTP, in PHP without a framework.

declare(strict_types=1);

require __DIR__ . '/store.php';

$body = (string) file_get_contents('php://input');
$secret = base64_decode(substr((string) getenv('SECRET'), strlen('whsec_')), true);
[$status, $answer] = $secret && is_ours($body, $secret)
    ? execute($_SERVER['REQUEST_URI'], $_SERVER['HTTP_WEBHOOK_ID'], json_decode($body, true))
    : [401, ['detail' => 'the signature does not fit']];
http_response_code($status);
header('content-type: application/json');
echo json_encode($answer);

/** Say whether a call was signed with our secret, and not more than five minutes ago. */
function is_ours(string $body, string $secret): bool
{
    $id = $_SERVER['HTTP_WEBHOOK_ID'] ?? '';
    $sent = $_SERVER['HTTP_WEBHOOK_TIMESTAMP'] ?? '';
    if (!preg_match('/^\d{1,12}$/D', $sent) || abs(time() - (int) $sent) > 300) {
        return false;
    }
    $expected = 'v1,' . base64_encode(hash_hmac('sha256', "$id.$sent.$body", $secret, true));
    foreach (explode(' ', $_SERVER['HTTP_WEBHOOK_SIGNATURE'] ?? '') as $signature) {
        if (hash_equals($expected, $signature)) {
            return true; // during a rotation there are two; one is enough
        }
    }
    return false;
}

/** Run a job, unless this step was done already; return the status and the body of the answer. */
function execute(string $job, string $key, array $call): array
{
    if ($answer = read($key, 'answer')) {
        return [200, $answer];
    }
    if ($job === '/slow') {
        write($key, 'call', $call); // the newest call has the newest links
        $words = array_map('escapeshellarg', [PHP_BINARY, __DIR__ . '/slow.php', $key]);
        exec(implode(' ', $words) . ' >/dev/null 2>&1 &');
        return [202, (object) []];
    }
    $prices = $call['program_data']['prices'] ?? [];
    if (!$prices) {
        return [422, ['error' => ['message' => 'no prices', 'retryable' => false]]];
    }
    return [200, write($key, 'answer', ['job_data' => ['total' => array_sum($prices)]])];
}
