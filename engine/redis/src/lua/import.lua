-- KEYS: record, note. ARGV: now, version, hard death, idle limit or -, last use, previous visit,
-- number of arguments that make up the intent, these, fields of the record.
local note = note_of(KEYS[2])
if note and note.kind == 'e' then
  return { 'ended' }
end
local count = tonumber(ARGV[7])
local row = fields(KEYS[1])
if next(row) ~= nil and is_foreign(row) then
  return { 'foreign' }
end
if next(row) ~= nil and tonumber(row.version) >= tonumber(ARGV[2]) then
  if tonumber(ARGV[5]) > tonumber(row.last_seen_at) then
    local dies = death(row.hard_death, row.idle_limit, ARGV[5])
    redis.call('HSET', KEYS[1], 'last_seen_at', ARGV[5], 'previous_visit_at', ARGV[6],
      'dies_at', dies)
    expire(KEYS[1], tonumber(dies), tonumber(ARGV[1]))
  end
  if row.version == ARGV[2] and not row.intent_holder and count > 0 then
    redis.call('HSET', KEYS[1], unpack(ARGV, 8, 7 + count))
  end
  return { 'kept' }
end
local seen, previous = later_use(row, ARGV[5], ARGV[6])
local dies = death(ARGV[3], ARGV[4], seen)
redis.call('DEL', KEYS[1], KEYS[2])
redis.call('HSET', KEYS[1], 'nonce', '-', 'last_seen_at', seen, 'previous_visit_at', previous,
  'dies_at', dies, unpack(ARGV, 8))
expire(KEYS[1], tonumber(dies), tonumber(ARGV[1]))
return { 'imported' }
