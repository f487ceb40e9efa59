-- Ends a record. KEYS: record, note. ARGV: now, reason, by whom, milliseconds to keep the note,
-- when to forget it, expected version or -, force or -.
local row, flat = fields(KEYS[1])
if row.email == nil and next(row) == nil then
  local _, text = note_of(KEYS[2])
  return { 'gone', text or '' }
end
local foreign = is_foreign(row)
if foreign and ARGV[7] ~= 'force' then
  return { 'foreign' }
end
local reason, by = ARGV[2], ARGV[3]
local dead = row.dies_at ~= nil and tonumber(row.dies_at) <= tonumber(ARGV[1]) and not foreign
if dead then
  reason, by = '7', '-'
elseif ARGV[6] ~= '-' and row.version ~= ARGV[6] then
  return { 'conflict', flat }
end
local verifier = row.verifier or string.rep('0', 64)
local text = table.concat({ 'e', reason, verifier, ARGV[5], by }, ' ')
redis.call('SET', KEYS[2], text, 'PX', ARGV[4])
redis.call('DEL', KEYS[1])
if dead then
  return { 'gone', text }
end
return { 'ended', flat }
