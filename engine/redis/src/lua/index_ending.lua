-- Notes that the devices of an email end, but for those whose login is under way. KEYS: index.
-- ARGV: now, nonce, reason, device that stays or -.
local known = redis.call('HGET', KEYS[1], 'e:' .. ARGV[2])
if known then
  return { 'ending', string.match(known, '(%S+)$') }
end
local devices = {}
for name, value in pairs((fields(KEYS[1]))) do
  if string.sub(name, 1, 2) == 'd:' then
    local device = string.sub(name, 3)
    if device ~= ARGV[4] and parsed(value).state == 'l' then
      devices[#devices + 1] = device
    end
  end
end
if #devices == 0 then
  return { 'ending', '' }
end
local list = table.concat(devices, ',')
redis.call('HSET', KEYS[1], 'e:' .. ARGV[2],
  table.concat({ ARGV[3], digits(clock()), list }, ' '))
keep(KEYS[1], tonumber(ARGV[1]))
return { 'ending', list }
