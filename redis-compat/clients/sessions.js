// express-session on connect-redis: a visit counter over HTTP. Arguments: the port, and which part: base
// (sessions come, are touched and go) or all (the store lists them, which takes SCAN).
'use strict';
const assert = require('node:assert');
const express = require('express');
const session = require('express-session');
const { createClient } = require('redis');
const { RedisStore } = require('connect-redis');

function serve(store) {
    const app = express();
    app.use(session({
        store, secret: 'not a secret', resave: false, saveUninitialized: false,
        cookie: { maxAge: 100000 },
    }));
    app.get('/visit', (request, response) => {
        request.session.visits = (request.session.visits || 0) + 1;
        response.send(String(request.session.visits));
    });
    app.get('/leave', (request, response) => request.session.destroy(() => response.send('left')));
    return new Promise((resolve) => {
        const server = app.listen(0, '127.0.0.1', () => resolve(server));
    });
}

async function visit(url, cookie) {
    const response = await fetch(url, { headers: cookie ? { cookie } : {} });
    const set = response.headers.get('set-cookie');
    return { text: await response.text(), cookie: set ? set.split(';')[0] : cookie };
}

async function base(client, store, url) {
    const first = await visit(`${url}/visit`);
    assert.strictEqual(first.text, '1');
    assert.strictEqual((await visit(`${url}/visit`, first.cookie)).text, '2');
    assert.strictEqual((await visit(`${url}/visit`)).text, '1');
    assert.strictEqual((await visit(`${url}/visit`, first.cookie)).text, '3');
    assert.strictEqual(await client.dbSize(), 2);
    const id = decodeURIComponent(first.cookie).split('=s:')[1].split('.')[0];
    const left = await client.ttl(`sess:${id}`);
    assert.ok(left > 90 && left <= 100, `TTL ${left}`);
    assert.strictEqual((await visit(`${url}/leave`, first.cookie)).text, 'left');
    assert.strictEqual(await client.exists(`sess:${id}`), 0);
    assert.strictEqual((await visit(`${url}/visit`, first.cookie)).text, '1');
}

async function all(client, store, url) {
    for (let i = 0; i < 20; i++) await visit(`${url}/visit`);
    assert.strictEqual(await store.length(), 20);
    const sessions = await store.all();
    assert.strictEqual(sessions.length, 20);
    assert.ok(sessions.every((one) => one.visits === 1));
    await store.clear();
    assert.strictEqual(await store.length(), 0);
}

async function main() {
    const client = createClient({ url: `redis://127.0.0.1:${process.argv[2]}/7` });
    client.on('error', (error) => { throw error; });
    await client.connect();
    await client.flushDb();
    const store = new RedisStore({ client });
    const server = await serve(store);
    await { base, all }[process.argv[3]](client, store, `http://127.0.0.1:${server.address().port}`);
    server.close();
    server.closeAllConnections();
    await client.close();
    console.log('done');
}

main().catch((error) => {
    console.log(error);
    process.exit(1);
});
