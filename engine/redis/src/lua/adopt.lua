-- Gives a row of the original application our own fields. KEYS: record. ARGV: now, death, six
-- columns as they were read, fields of the record.
local names =
  { 'email', 'token_type', 'access_token', 'access_expiry', 'refresh_token', 'refresh_expiry' }
for at, name in ipairs(names) do
  if redis.call('HGET', KEYS[1], name) ~= ARGV[at + 2] then
    return { 'changed' }
  end
end
redis.call('HSET', KEYS[1], unpack(ARGV, 9))
expire(KEYS[1], tonumber(ARGV[2]), tonumber(ARGV[1]))
return { 'adopted' }
