-- KEYS: index. Answers with the time of Redis and all fields.
return { digits(clock()), redis.call('HGETALL', KEYS[1]) }
