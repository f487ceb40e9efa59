-- Sees to it that a login that was begun is not stored any more. KEYS: record, note. ARGV: nonce
-- of the login, milliseconds.
if redis.call('EXISTS', KEYS[1]) == 1 then
  return { 'stored' }
end
local note = note_of(KEYS[2])
if note then
  return { note.kind == 'f' and 'fenced' or 'stored' }
end
local text = table.concat({ 'f', '7', string.rep('0', 64), '0', ARGV[1] }, ' ')
redis.call('SET', KEYS[2], text, 'PX', ARGV[2])
return { 'fenced' }
