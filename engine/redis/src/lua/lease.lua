-- KEYS: record, note. ARGV: now, expected version, holder, until.
local row, flat = fields(KEYS[1])
if next(row) == nil then
  local _, text = note_of(KEYS[2])
  return { 'gone', text or '' }
elseif is_foreign(row) then
  return { 'foreign' }
elseif tonumber(row.dies_at) <= tonumber(ARGV[1]) then
  return { 'dead' }
elseif row.version ~= ARGV[2] then
  return { 'conflict', flat }
end
local since, uncertain = ARGV[1], '0'
if row.intent_holder then
  if row.intent_holder == ARGV[3] and row.intent_until == ARGV[4] then
    return { 'granted', flat }
  elseif row.intent_holder ~= ARGV[3] and tonumber(row.intent_until) > tonumber(ARGV[1]) then
    return { 'held', row.intent_until }
  end
  since, uncertain = row.intent_since, '1'
end
redis.call('HSET', KEYS[1], 'intent_holder', ARGV[3], 'intent_since', since,
  'intent_until', ARGV[4], 'intent_uncertain', uncertain)
flat = select(2, fields(KEYS[1]))
return { 'granted', flat }
