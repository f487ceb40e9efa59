-- KEYS: record. ARGV: now, holder, 1 if the outcome is uncertain or 0.
local row = fields(KEYS[1])
if row.dies_at == nil or tonumber(row.dies_at) <= tonumber(ARGV[1]) then
  return { 'lost' }
elseif row.intent_holder ~= ARGV[2] then
  return { 'lost' }
elseif row.intent_uncertain == '1' or ARGV[3] == '1' then
  redis.call('HSET', KEYS[1], 'intent_until', ARGV[1], 'intent_uncertain', '1')
  return { 'uncertain' }
end
redis.call('HDEL', KEYS[1], 'intent_holder', 'intent_since', 'intent_until', 'intent_uncertain')
return { 'released' }
