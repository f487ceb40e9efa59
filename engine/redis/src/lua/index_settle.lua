-- Ends the pending state of a login. KEYS: index. ARGV: now, device, nonce, live or drop.
local value = redis.call('HGET', KEYS[1], 'd:' .. ARGV[2])
local entry = value and parsed(value)
if not entry or entry.nonce ~= ARGV[3] then
  return { 'settled' }
end
if ARGV[4] == 'live' then
  each_victim(entry.victims, function(victim)
    redis.call('HDEL', KEYS[1], 'd:' .. victim)
  end)
  entry.state, entry.nonce, entry.begun, entry.victims = 'l', '-', '-', '-'
  redis.call('HSET', KEYS[1], 'd:' .. ARGV[2], written(entry))
else
  redis.call('HDEL', KEYS[1], 'd:' .. ARGV[2])
end
bump(KEYS[1])
keep(KEYS[1], tonumber(ARGV[1]))
return { 'settled' }
