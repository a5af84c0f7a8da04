// keyv on @keyv/redis. Arguments: the port, and which part: base, or walk (what lists and clears keys).
'use strict';
const assert = require('node:assert');
const { Keyv } = require('keyv');
const { default: KeyvRedis } = require('@keyv/redis');

async function base(keyv) {
    assert.strictEqual(await keyv.get('absent'), undefined);
    assert.strictEqual(await keyv.set('one', { a: [1, 'ä', null] }), true);
    assert.deepStrictEqual(await keyv.get('one'), { a: [1, 'ä', null] });
    assert.strictEqual(await keyv.set('timed', 'v', 60000), true);
    assert.strictEqual(await keyv.get('timed'), 'v');
    assert.strictEqual(await keyv.has('timed'), true);
    assert.deepStrictEqual(await keyv.get(['one', 'absent', 'timed']),
        [{ a: [1, 'ä', null] }, undefined, 'v']);
    assert.strictEqual(await keyv.delete('timed'), true);
    assert.strictEqual(await keyv.has('timed'), false);
}

async function walk(keyv) {
    await keyv.clear();
    const entries = Array.from({ length: 200 }, (_, i) => ({ key: `k${i}`, value: i }));
    await keyv.setMany(entries);
    const found = new Map();
    for await (const [key, value] of keyv.iterator()) found.set(key, value);
    assert.strictEqual(found.size, 200);
    assert.strictEqual(found.get('k7'), 7);
    await keyv.deleteMany(['k1', 'k2']);
    await keyv.clear();
    assert.strictEqual(await keyv.get('k7'), undefined);
}

async function main() {
    const store = new KeyvRedis(`redis://127.0.0.1:${process.argv[2]}/8`);
    const keyv = new Keyv({ store, namespace: 'smoke', throwOnErrors: true });
    keyv.on('error', (error) => { throw error; });
    await { base, walk }[process.argv[3]](keyv);
    await keyv.disconnect();
    console.log('done');
}

main().catch((error) => {
    console.log(error);
    process.exit(1);
});
