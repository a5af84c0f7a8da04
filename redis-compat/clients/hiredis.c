/* hiredis: commands, a pipeline, binary values, replies of every kind, what MULTI brings.
 * Arguments: the port, and which part: base or transactions. smoke.py compiles it. */
#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PIPELINED = 1000 };

static void fail(const char *what, const redisReply *reply)
{
    printf("%s: type %d, %lld, %s\n", what, reply ? reply->type : -1, reply ? reply->integer : 0,
           reply && reply->str ? reply->str : "");
    exit(1);
}

static void want_text(redisReply *reply, int type, const char *text)
{
    if (!reply || reply->type != type || !reply->str || strcmp(reply->str, text) != 0)
        fail(text, reply);
    freeReplyObject(reply);
}

static void want_integer(redisReply *reply, long long value)
{
    if (!reply || reply->type != REDIS_REPLY_INTEGER || reply->integer != value)
        fail("integer", reply);
    freeReplyObject(reply);
}

static void want_type(redisReply *reply, int type, const char *what)
{
    if (!reply || reply->type != type)
        fail(what, reply);
    freeReplyObject(reply);
}

static void run_base(redisContext *c)
{
    redisReply *reply;

    want_text(redisCommand(c, "PING"), REDIS_REPLY_STATUS, "PONG");
    want_text(redisCommand(c, "SET key %b", "v\0\xff", (size_t)3), REDIS_REPLY_STATUS, "OK");
    reply = redisCommand(c, "GET key");
    if (!reply || reply->len != 3 || memcmp(reply->str, "v\0\xff", 3) != 0)
        fail("GET", reply);
    freeReplyObject(reply);
    want_type(redisCommand(c, "GET absent"), REDIS_REPLY_NIL, "GET absent");
    want_type(redisCommand(c, "NONSENSE"), REDIS_REPLY_ERROR, "NONSENSE");
    want_text(redisCommand(c, "SET timed v EX 100"), REDIS_REPLY_STATUS, "OK");
    want_integer(redisCommand(c, "EXISTS key timed absent"), 2);
    for (int i = 0; i < PIPELINED; i++)
        redisAppendCommand(c, "INCR n");
    for (int i = 0; i < PIPELINED; i++) {
        if (redisGetReply(c, (void **)&reply) != REDIS_OK)
            fail("pipeline", NULL);
        want_integer(reply, i + 1);
    }
    want_type(redisCommand(c, "MGET key absent n"), REDIS_REPLY_ARRAY, "MGET");
    want_integer(redisCommand(c, "DEL key timed absent"), 2);
}

static void run_transactions(redisContext *c)
{
    redisReply *reply;

    want_text(redisCommand(c, "MULTI"), REDIS_REPLY_STATUS, "OK");
    want_text(redisCommand(c, "SET key 41"), REDIS_REPLY_STATUS, "QUEUED");
    want_text(redisCommand(c, "INCR key"), REDIS_REPLY_STATUS, "QUEUED");
    reply = redisCommand(c, "EXEC");
    if (!reply || reply->type != REDIS_REPLY_ARRAY || reply->elements != 2 ||
        reply->element[1]->integer != 42)
        fail("EXEC", reply);
    freeReplyObject(reply);
}

int main(int argc, char **argv)
{
    if (argc < 3)
        return 1;
    redisContext *c = redisConnect("127.0.0.1", atoi(argv[1]));
    if (!c || c->err)
        fail("connect", NULL);
    want_text(redisCommand(c, "SELECT 11"), REDIS_REPLY_STATUS, "OK");
    want_text(redisCommand(c, "FLUSHDB"), REDIS_REPLY_STATUS, "OK");
    if (strcmp(argv[2], "transactions") == 0)
        run_transactions(c);
    else
        run_base(c);
    redisFree(c);
    puts("done");
    return 0;
}
