-- KEYS: record. ARGV: now, holder, until.
local row = fields(KEYS[1])
if row.dies_at == nil or tonumber(row.dies_at) <= tonumber(ARGV[1]) then
  return { 'lost' }
elseif row.intent_holder ~= ARGV[2] then
  return { 'lost' }
end
redis.call('HSET', KEYS[1], 'intent_until', ARGV[3])
return { 'extended' }
