"""redis-py: connect, set, get, pipeline, expiry, errors, close. The first argument is the port."""
import sys

import redis


def main():
    client = redis.Redis(port=int(sys.argv[1]), db=6, client_name="smoke", socket_timeout=10)
    assert client.flushdb() is True
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
    client.close()
    print("done")


main()
