-- KEYS: record, note. ARGV: now, expected version, kept or renewed, nonce, hard death, idle
-- limit or -, last use, previous visit, fields of the record.
local row, flat = fields(KEYS[1])
if next(row) == nil then
  local _, text = note_of(KEYS[2])
  return { 'gone', text or '' }
elseif is_foreign(row) then
  return { 'foreign' }
elseif tonumber(row.dies_at) <= tonumber(ARGV[1]) then
  return { 'dead' }
elseif row.nonce == ARGV[4] then
  return { 'replaced', flat, '' }
elseif row.version ~= ARGV[2] then
  return { 'conflict', flat }
end
local holder = ''
if ARGV[3] == 'renewed' then
  holder = row.intent_holder or ''
  redis.call('HDEL', KEYS[1], 'intent_holder', 'intent_since', 'intent_until', 'intent_uncertain')
end
local seen, previous = later_use(row, ARGV[7], ARGV[8])
local dies = death(ARGV[5], ARGV[6], seen)
redis.call('HSET', KEYS[1], 'nonce', ARGV[4], 'last_seen_at', seen, 'previous_visit_at', previous,
  'dies_at', dies, unpack(ARGV, 9))
flat = select(2, fields(KEYS[1]))
expire(KEYS[1], tonumber(dies), tonumber(ARGV[1]))
return { 'replaced', flat, holder }
