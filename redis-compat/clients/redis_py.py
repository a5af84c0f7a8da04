"""redis-py. Arguments: the port, and which part: base, transactions, scan or lock."""
import sys

import redis


def base(client):
    """Connect, set, get, pipeline, expiry, errors."""
    assert client.ping() is True
    assert client.set("key", b"v\x00\xff") is True
    assert client.get("key") == b"v\x00\xff"
    assert client.get("absent") is None
    assert client.set("key", "other", nx=True) is None
    assert client.set("timed", "v", ex=100) is True
    assert 90 < client.ttl("timed") <= 100
    assert client.mset({"a": 1, "b": 2}) is True
    assert client.mget("a", "b", "c") == [b"1", b"2", None]
    assert client.expire("a", 50)
    assert 40 < client.ttl("a") <= 50
    assert client.ttl("b") == -1
    pipeline = client.pipeline(transaction=False)
    for _ in range(1000):
        pipeline.incr("n")
    assert pipeline.execute() == list(range(1, 1001))
    assert client.delete("a", "b", "absent") == 2
    assert client.dbsize() == 3
    assert client.append("key", "tail") == 7
    assert client.strlen("key") == 7
    assert client.exists("key", "n", "absent") == 2
    assert client.type("key") == b"string"
    for call in (lambda: client.execute_command("NONSENSE"), lambda: client.incr("key")):
        try:
            call()
        except redis.ResponseError:
            continue
        raise AssertionError("an error reply was expected")
    assert client.config_get("databases") == {"databases": "16"}
    assert client.info("server")["redis_version"].count(".") == 2
    mine = [row for row in client.client_list() if row["name"] == "smoke"]
    assert len(mine) == 1 and mine[0]["db"] == "6", mine
    assert client.info("keyspace")["db6"]["keys"] == 3


def transactions(client):
    """pipeline() is MULTI and EXEC by default; WATCH makes an optimistic lock."""
    with client.pipeline() as pipeline:
        replies = pipeline.set("key", 1).incr("key").incr("text", 2).get("key").execute()
    assert replies == [True, 2, 2, b"2"], replies
    with client.pipeline() as pipeline:
        pipeline.watch("key")
        client.set("key", 10)
        pipeline.multi()
        pipeline.incr("key")
        try:
            pipeline.execute()
            raise AssertionError("WATCH saw nothing")
        except redis.WatchError:
            pass
    tries = []

    def add(pipeline):
        value = int(pipeline.get("key"))
        if not tries:
            client.incr("key")
        tries.append(value)
        pipeline.multi()
        pipeline.set("key", value + 1)

    assert client.transaction(add, "key") == [True]
    assert tries == [10, 11] and client.get("key") == b"12", tries


def scan(client):
    client.mset({f"user:{number}": number for number in range(500)})
    client.mset({f"other:{number}": number for number in range(50)})
    found = list(client.scan_iter(match="user:*", count=20))
    assert set(found) == {f"user:{number}".encode() for number in range(500)}
    assert len(set(client.scan_iter())) == 550
    assert len(client.keys("other:*")) == 50


def lock(client):
    """redis-py's Lock: SET NX PX to take it, a script to give it back."""
    with client.lock("lock", timeout=10, blocking_timeout=1):
        assert client.pttl("lock") > 5000
        assert not client.lock("lock", timeout=10).acquire(blocking=False)
    assert client.exists("lock") == 0


def main():
    client = redis.Redis(port=int(sys.argv[1]), db=6, client_name="smoke", socket_timeout=10)
    assert client.flushdb() is True
    {"base": base, "transactions": transactions, "scan": scan, "lock": lock}[sys.argv[2]](client)
    client.close()
    print("done")


main()
