// node-redis: connect, set, get, pipeline, expiry, errors, close. The first argument is the port.
'use strict';
const assert = require('node:assert');
const { createClient } = require('redis');

async function main() {
    const client = createClient({
        url: `redis://127.0.0.1:${process.argv[2]}/4`,
        name: 'smoke',
        socket: { reconnectStrategy: false, connectTimeout: 5000 },
    });
    client.on('error', (error) => { throw error; });
    await client.connect();
    assert.strictEqual(await client.flushDb(), 'OK');
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
    await (client.close ? client.close() : client.quit());
    console.log('done');
}

main().catch((error) => {
    console.log(error);
    process.exit(1);
});
