# redis-rb. Arguments: the port, and which part: base, transactions or scan.
require 'redis'

def same(got, wanted)
  raise "#{got.inspect} instead of #{wanted.inspect}" unless got == wanted
end

def base(redis)
  same redis.ping, 'PONG'
  same redis.set('key', "v\0\r\n"), 'OK'
  same redis.get('key'), "v\0\r\n"
  same redis.get('absent'), nil
  same redis.set('key', 'other', nx: true), false
  same redis.set('timed', 'v', ex: 100), 'OK'
  same redis.ttl('timed') > 90, true
  same redis.mset('a', '1', 'b', '2'), 'OK'
  same redis.mapped_mget('a', 'b', 'c'), { 'a' => '1', 'b' => '2', 'c' => nil }
  same redis.incrby('a', 41), 42
  same redis.expire('a', 50), true
  same redis.persist('a'), true
  same redis.pipelined { |pipeline| 1000.times { pipeline.incr('n') } }, (1..1000).to_a
  same redis.del('a', 'b', 'absent'), 2
  same redis.dbsize, 3
  same redis.type('key'), 'string'
  begin
    redis.call('NONSENSE')
    raise 'an error reply was expected'
  rescue Redis::CommandError => error
    same error.message.start_with?("ERR unknown command 'NONSENSE'"), true
  end
  same redis.config(:get, 'databases'), { 'databases' => '16' }
  same redis.info['redis_version'].count('.'), 2
  same redis._client.call([:client, :getname]), 'smoke'
end

def transactions(redis)
  same redis.multi { |multi| multi.set('key', '1'); multi.incr('key'); multi.get('key') }, ['OK', 2, '2']
  other = redis.dup
  redis.watch('key') do
    other.set('key', 'changed')
    same redis.multi { |multi| multi.set('key', 'mine') }, nil
  end
  same redis.get('key'), 'changed'
  other.close
end

def scan(redis)
  redis.mapped_mset((0...500).to_h { |i| ["user:#{i}", i] })
  redis.set('other', 'v')
  same redis.scan_each(match: 'user:*', count: 20).to_a.uniq.size, 500
  same redis.keys('*').size, 501
end

redis = Redis.new(host: '127.0.0.1', port: ARGV[0].to_i, db: 10, id: 'smoke', timeout: 5)
same redis.flushdb, 'OK'
send(ARGV[1], redis)
redis.close
puts 'done'
