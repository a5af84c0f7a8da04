// ioredis. Arguments: the port, and which part: base, transactions or scan.
'use strict';
const assert = require('node:assert');
const loaded = require('ioredis');
const Redis = loaded.Redis || loaded.default || loaded;

// Connect, set, get, pipeline, expiry, errors.
async function base(redis) {
    assert.strictEqual(await redis.ping(), 'PONG');
    assert.strictEqual(await redis.set('key', 'välue'), 'OK');
    assert.strictEqual(await redis.get('key'), 'välue');
    assert.strictEqual(await redis.get('absent'), null);
    assert.strictEqual(await redis.set('timed', 'v', 'EX', 100), 'OK');
    assert.ok(await redis.ttl('timed') > 90);
    assert.strictEqual(await redis.mset('a', '1', 'b', '2'), 'OK');
    assert.deepStrictEqual(await redis.mget('a', 'b', 'c'), ['1', '2', null]);
    assert.strictEqual(await redis.expire('a', 50), 1);
    assert.ok(await redis.ttl('a') > 40);
    const bytes = Buffer.from([0, 255, 13, 10, 0]);
    await redis.set(bytes, bytes);
    assert.ok((await redis.getBuffer(bytes)).equals(bytes));
    const pipeline = redis.pipeline();
    for (let i = 0; i < 1000; i++) pipeline.incr('n');
    pipeline.incr('key');
    const replies = await pipeline.exec();
    assert.strictEqual(replies.length, 1001);
    replies.slice(0, 1000).forEach(([error, value], i) => {
        assert.strictEqual(error, null);
        assert.strictEqual(value, i + 1);
    });
    assert.match(replies[1000][0].message, /not an integer/);
    assert.strictEqual(await redis.del('a', 'b', 'absent'), 2);
    assert.strictEqual(await redis.dbsize(), 4);
    await assert.rejects(redis.call('NONSENSE'), /unknown command/);
    assert.strictEqual(await redis.client('GETNAME'), 'smoke');
}

async function transactions(redis) {
    const replies = await redis.multi().set('key', '1').incr('key').get('key').exec();
    assert.deepStrictEqual(replies, [[null, 'OK'], [null, 2], [null, '2']]);
    const other = redis.duplicate();
    await redis.watch('key');
    await other.set('key', 'changed');
    assert.strictEqual(await redis.multi().set('key', 'mine').exec(), null);
    assert.strictEqual(await redis.get('key'), 'changed');
    await assert.rejects(redis.multi().set('key').exec(), /EXECABORT/);
    await other.quit();
}

async function scan(redis) {
    const wanted = Array.from({ length: 500 }, (_, i) => `user:${i}`);
    await redis.mset('other', 'v', ...wanted.flatMap((key) => [key, 'v']));
    const found = new Set();
    const stream = redis.scanStream({ match: 'user:*', count: 20 });
    stream.on('data', (page) => page.forEach((key) => found.add(key)));
    await new Promise((resolve, reject) => stream.on('end', resolve).on('error', reject));
    assert.deepStrictEqual([...found].sort(), wanted.sort());
}

async function main() {
    const redis = new Redis(Number(process.argv[2]), '127.0.0.1', {
        db: 5, connectionName: 'smoke', retryStrategy: null, connectTimeout: 5000,
    });
    redis.on('error', (error) => { throw error; });
    assert.strictEqual(await redis.flushdb(), 'OK');
    await { base, transactions, scan }[process.argv[3]](redis);
    assert.strictEqual(await redis.quit(), 'OK');
    console.log('done');
}

main().catch((error) => {
    console.log(error);
    process.exit(1);
});
