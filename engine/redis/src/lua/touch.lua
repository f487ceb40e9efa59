-- KEYS: record. ARGV: now, last use as it was read, last use and previous visit as they become.
local row = fields(KEYS[1])
if next(row) == nil or is_foreign(row) or row.last_seen_at ~= ARGV[2] then
  return { 'kept' }
elseif tonumber(row.dies_at) <= tonumber(ARGV[1]) then
  return { 'kept' }
end
local dies = death(row.hard_death, row.idle_limit, ARGV[3])
redis.call('HSET', KEYS[1], 'last_seen_at', ARGV[3], 'previous_visit_at', ARGV[4], 'dies_at', dies)
expire(KEYS[1], tonumber(dies), tonumber(ARGV[1]))
return { 'touched' }
