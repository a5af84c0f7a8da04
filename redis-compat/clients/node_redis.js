// node-redis. Arguments: the port, and which part: base, transactions or scan.
'use strict';
const assert = require('node:assert');
const { createClient } = require('redis');

// Connect, set, get, pipeline, expiry, errors.
async function base(client) {
    assert.strictEqual(await client.ping(), 'PONG');
    assert.strictEqual(await client.set('key', 'välue'), 'OK');
    assert.strictEqual(await client.get('key'), 'välue');
    assert.strictEqual(await client.get('absent'), null);
    assert.strictEqual(await client.set('key', 'other', { NX: true }), null);
    assert.strictEqual(await client.set('timed', 'v', { EX: 100 }), 'OK');
    assert.ok(await client.ttl('timed') > 90);
    assert.strictEqual(await client.mSet({ a: '1', b: '2' }), 'OK');
    assert.deepStrictEqual(await client.mGet(['a', 'b', 'c']), ['1', '2', null]);
    assert.ok(await client.expire('a', 50));
    assert.ok(await client.ttl('a') > 40);
    assert.strictEqual(await client.ttl('b'), -1);
    // What is called in one tick goes out as one pipeline.
    const counts = await Promise.all(Array.from({ length: 1000 }, () => client.incr('n')));
    assert.deepStrictEqual(counts, Array.from({ length: 1000 }, (_, i) => i + 1));
    assert.strictEqual(await client.del(['a', 'b', 'absent']), 2);
    assert.strictEqual(await client.dbSize(), 3);
    await assert.rejects(client.sendCommand(['NONSENSE']), /unknown command/);
    await assert.rejects(client.incr('key'), /not an integer/);
    const settings = await client.configGet('databases');
    assert.strictEqual(settings.databases, '16');
    assert.strictEqual(await client.clientGetName(), 'smoke');
}

async function transactions(client) {
    const replies = await client.multi().set('key', '1').incr('key').get('key').exec();
    assert.deepStrictEqual(replies, ['OK', 2, '2']);
    await client.watch('key');
    assert.strictEqual(await client.get('key'), '2');
    assert.deepStrictEqual(await client.multi().set('key', '4').exec(), ['OK']);
    const other = await client.duplicate().connect();
    await client.watch('key');
    await other.set('key', 'changed');
    await assert.rejects(client.multi().set('key', 'mine').exec(), /watched keys has been changed/i);
    assert.strictEqual(await client.get('key'), 'changed');
    await (other.close ? other.close() : other.quit());
}

async function scan(client) {
    const wanted = new Set();
    for (let i = 0; i < 500; i++) {
        wanted.add(`user:${i}`);
        client.set(`user:${i}`, 'v');
    }
    await client.set('other', 'v');
    const found = new Set();
    // Version 4 gives one key at a time, later ones a page.
    for await (const page of client.scanIterator({ MATCH: 'user:*', COUNT: 20 })) {
        for (const key of [].concat(page)) found.add(key);
    }
    assert.deepStrictEqual([...found].sort(), [...wanted].sort());
    assert.strictEqual((await client.keys('*')).length, 501);
}

async function main() {
    const client = createClient({
        url: `redis://127.0.0.1:${process.argv[2]}/4`,
        name: 'smoke',
        socket: { reconnectStrategy: false, connectTimeout: 5000 },
    });
    client.on('error', (error) => { throw error; });
    await client.connect();
    assert.strictEqual(await client.flushDb(), 'OK');
    await { base, transactions, scan }[process.argv[3]](client);
    await (client.close ? client.close() : client.quit());
    console.log('done');
}

main().catch((error) => {
    console.log(error);
    process.exit(1);
});
