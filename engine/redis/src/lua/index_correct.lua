-- Puts right how long a device lives. KEYS: index. ARGV: now, device, its entry as it was read,
-- hard death, idle limit, last use.
local name = 'd:' .. ARGV[2]
if redis.call('HGET', KEYS[1], name) ~= ARGV[3] then
  return { 'kept' }
end
local entry = parsed(ARGV[3])
entry.hard, entry.idle, entry.seen = ARGV[4], ARGV[5], ARGV[6]
redis.call('HSET', KEYS[1], name, written(entry))
keep(KEYS[1], tonumber(ARGV[1]))
return { 'corrected' }
