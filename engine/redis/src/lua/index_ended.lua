-- All devices of an intention ended. KEYS: index. ARGV: now, nonce.
local value = redis.call('HGET', KEYS[1], 'e:' .. ARGV[2])
if value then
  each_victim(string.match(value, '(%S+)$'), function(device)
    redis.call('HDEL', KEYS[1], 'd:' .. device)
  end)
  redis.call('HDEL', KEYS[1], 'e:' .. ARGV[2])
  bump(KEYS[1])
  keep(KEYS[1], tonumber(ARGV[1]))
end
return { 'cleared' }
