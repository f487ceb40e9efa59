-- Forgets a key, unless a server sealed with it since the records were counted. KEYS: meta. ARGV:
-- key, when the counting began, for how long a server counts that said nothing more.
local meta = fields(KEYS[1])
if meta.active == ARGV[1] then
  return { 'active' }
end
for name, said in pairs(meta) do
  if string.sub(name, 1, 7) == 'sealer:' then
    local key, at = string.match(said, '^(%S+) (%S+)$')
    if tonumber(at) + tonumber(ARGV[3]) <= clock() then
      redis.call('HDEL', KEYS[1], name)
    elseif key == ARGV[1] then
      return { 'sealed' }
    end
  end
end
local left = meta['left:' .. ARGV[1]]
if left and tonumber(left) >= tonumber(ARGV[2]) then
  return { 'left' }
end
redis.call('HDEL', KEYS[1], 'check:' .. ARGV[1], 'left:' .. ARGV[1])
return { 'retired' }
