-- KEYS: record, note. ARGV: now, death, nonce, fields of the record.
local note = note_of(KEYS[2])
if note then
  return { note.kind == 'f' and note.by == ARGV[3] and 'fenced' or 'taken' }
end
local nonce = redis.call('HGET', KEYS[1], 'nonce')
if nonce == ARGV[3] then
  return { 'stored' }
elseif nonce or redis.call('EXISTS', KEYS[1]) == 1 then
  return { 'taken' }
end
redis.call('HSET', KEYS[1], 'nonce', ARGV[3], unpack(ARGV, 4))
expire(KEYS[1], tonumber(ARGV[2]), tonumber(ARGV[1]))
return { 'stored' }
