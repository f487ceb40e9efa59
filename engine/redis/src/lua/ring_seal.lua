-- A server says that it seals with a key. Where nothing is left of what the store says of itself, it
-- says that again. KEYS: meta. ARGV: server, key, check value of the key, store, format.
if redis.call('EXISTS', KEYS[1]) == 0 then
  redis.call('HSET', KEYS[1], 'store', ARGV[4], 'format', ARGV[5], 'active', ARGV[2],
    'check:' .. ARGV[2], ARGV[3])
elseif redis.call('HEXISTS', KEYS[1], 'check:' .. ARGV[2]) == 0 then
  return { 'retired' }
end
redis.call('HSET', KEYS[1], 'sealer:' .. ARGV[1], ARGV[2] .. ' ' .. digits(clock()))
return { 'noted' }
