-- Learns of a device, or of its longer life. KEYS: index. ARGV: now, device, hard death, idle
-- limit, last use, login.
local name = 'd:' .. ARGV[2]
local value = redis.call('HGET', KEYS[1], name)
local entry = value and parsed(value)
if entry then
  if tonumber(ARGV[3]) > tonumber(entry.hard) then entry.hard = ARGV[3] end
  if tonumber(ARGV[5]) > tonumber(entry.seen) then entry.seen = ARGV[5] end
  entry.idle = ARGV[4]
else
  entry = { state = 'l', hard = ARGV[3], idle = ARGV[4], seen = ARGV[5], created = ARGV[6],
    nonce = '-', begun = '-', victims = '-' }
  bump(KEYS[1])
end
redis.call('HSET', KEYS[1], name, written(entry))
keep(KEYS[1], tonumber(ARGV[1]))
return { 'learnt' }
