-- A server seals with another key from here on. KEYS: meta. ARGV: server, key, check value of the
-- key, store, format, key that it sealed with.
local now = digits(clock())
redis.call('HSETNX', KEYS[1], 'store', ARGV[4])
redis.call('HSETNX', KEYS[1], 'format', ARGV[5])
redis.call('HSET', KEYS[1], 'active', ARGV[2], 'check:' .. ARGV[2], ARGV[3],
  'sealer:' .. ARGV[1], ARGV[2] .. ' ' .. now)
if ARGV[2] ~= ARGV[6] then
  redis.call('HSET', KEYS[1], 'left:' .. ARGV[6], now)
end
return { 'taken' }
