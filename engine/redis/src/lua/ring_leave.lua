-- A server seals nothing any more. KEYS: meta. ARGV: server.
local sealer = redis.call('HGET', KEYS[1], 'sealer:' .. ARGV[1])
if sealer then
  redis.call('HDEL', KEYS[1], 'sealer:' .. ARGV[1])
  redis.call('HSET', KEYS[1], 'left:' .. string.match(sealer, '^%S+'), digits(clock()))
end
return { 'left' }
