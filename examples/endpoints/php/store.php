<?php

// Store: what is known of a step, in files; keep yours in a database, beside the effect.

declare(strict_types=1);

function path(string $key, string $what): string
{
    $folder = getenv('STATE') ?: sys_get_temp_dir() . '/program-executor-endpoint';
    is_dir($folder) || @mkdir($folder, 0700, true);
    return "$folder/" . hash('sha256', $key) . ".$what";
}

function read(string $key, string $what): ?array
{
    $path = path($key, $what);
    return is_file($path) ? json_decode(file_get_contents($path), true) : null;
}

function write(string $key, string $what, array $content): array
{
    $path = path($key, $what);
    $new = tempnam(dirname($path), 'new');
    file_put_contents($new, json_encode($content));
    rename($new, $path); // others see the old file or the whole new one
    return $content;
}
