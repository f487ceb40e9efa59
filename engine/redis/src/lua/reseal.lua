-- Seals a record with another key. KEYS: record. ARGV: our own column as it was read, fields of the
-- record.
if redis.call('HGET', KEYS[1], 'rest') ~= ARGV[1] then
  return { 'changed' }
end
redis.call('HSET', KEYS[1], unpack(ARGV, 2))
return { 'resealed' }
