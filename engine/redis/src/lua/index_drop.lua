-- Takes a device out. KEYS: index. ARGV: now, device, its entry as it was read or * for any.
local name = 'd:' .. ARGV[2]
local value = redis.call('HGET', KEYS[1], name)
if not value or (ARGV[3] ~= '*' and ARGV[3] ~= value) then
  return { 'kept' }
end
redis.call('HDEL', KEYS[1], name)
bump(KEYS[1])
keep(KEYS[1], tonumber(ARGV[1]))
return { 'dropped' }
