<?php
// php-redis. Arguments: the port, and which part: base, transactions or scan.
declare(strict_types=1);

set_error_handler(function (int $number, string $text): bool {
    throw new ErrorException($text, $number);
});

function same($got, $wanted): void
{
    if ($got !== $wanted) {
        throw new Exception(var_export($got, true) . ' instead of ' . var_export($wanted, true));
    }
}

function base(Redis $redis): void
{
    same($redis->ping(), true);
    same($redis->set('key', "v\0\xff\r\n"), true);
    same($redis->get('key'), "v\0\xff\r\n");
    same($redis->get('absent'), false);
    same($redis->set('key', 'other', ['nx', 'ex' => 10]), false);
    same($redis->set('timed', 'v', ['px' => 100000]), true);
    same($redis->ttl('timed') > 90, true);
    same($redis->mset(['a' => '1', 'b' => '2']), true);
    same($redis->mget(['a', 'b', 'c']), ['1', '2', false]);
    same($redis->incrBy('a', 41), 42);
    same($redis->expire('a', 50), true);
    same($redis->persist('a'), true);
    same($redis->append('b', '34'), 3);
    same($redis->strlen('b'), 3);
    same($redis->exists('a', 'b', 'absent'), 2);
    $redis->multi(Redis::PIPELINE);
    for ($i = 0; $i < 1000; $i++) {
        $redis->incr('n');
    }
    same($redis->exec(), range(1, 1000));
    same($redis->del('a', 'b', 'absent'), 2);
    same($redis->dbSize(), 3);
    same($redis->rawCommand('NONSENSE'), false);
    same(str_starts_with($redis->getLastError(), "ERR unknown command 'NONSENSE'"), true);
    same($redis->config('GET', 'databases'), ['databases' => '16']);
    same(substr_count($redis->info('server')['redis_version'], '.'), 2);
    same($redis->client('getname'), 'smoke');
}

function transactions(Redis $redis): void
{
    same($redis->multi()->set('key', '1')->incr('key')->get('key')->exec(), [true, 2, '2']);
    $other = new Redis();
    $other->connect('127.0.0.1', $redis->getPort(), 5.0);
    $other->select(9);
    $redis->watch('key');
    $other->set('key', 'changed');
    same($redis->multi()->set('key', 'mine')->exec(), false);
    same($redis->get('key'), 'changed');
    $redis->multi()->set('key', 'dropped')->discard();
    same($redis->get('key'), 'changed');
}

function scan(Redis $redis): void
{
    for ($i = 0; $i < 500; $i++) {
        $redis->set("user:$i", 'v');
    }
    $redis->set('other', 'v');
    $redis->setOption(Redis::OPT_SCAN, (string)Redis::SCAN_RETRY);
    $found = [];
    $cursor = null;
    while (($keys = $redis->scan($cursor, 'user:*', 20)) !== false) {
        foreach ($keys as $key) {
            $found[$key] = true;
        }
    }
    same(count($found), 500);
}

$redis = new Redis();
$redis->connect('127.0.0.1', (int)$argv[1], 5.0);
$redis->select(9);
$redis->client('setname', 'smoke');
same($redis->flushDB(), true);
$argv[2]($redis);
$redis->close();
echo "done\n";
