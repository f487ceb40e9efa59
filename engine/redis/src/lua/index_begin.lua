-- Begins a login: decides the ceiling, and notes who has to end for it. KEYS: index. ARGV: now,
-- device, nonce, hard death, idle limit, last use, login, device that is replaced or -, ceiling
-- or 0, reject or evict, devices that do not count.
local now, device, replaced = tonumber(ARGV[1]), ARGV[2], ARGV[8]
local known = redis.call('HGET', KEYS[1], 'd:' .. device)
if known then
  local entry = parsed(known)
  if entry.nonce == ARGV[3] then
    return { 'begun', entry.victims }
  elseif entry.state == 'p' or tonumber(death(entry.hard, entry.idle, entry.seen)) > now then
    -- Whoever lost the race for the id must not take the winner's place in the list.
    return { 'taken' }
  end
end

local entries, ending = {}, {}
for name, value in pairs((fields(KEYS[1]))) do
  local kind, id = string.sub(name, 1, 2), string.sub(name, 3)
  if kind == 'd:' then
    local entry = parsed(value)
    entry.device, entry.value = id, value
    entries[#entries + 1] = entry
    each_victim(entry.victims, function(victim) ending[victim] = true end)
  elseif kind == 'e:' then
    each_victim(string.match(value, '(%S+)$'), function(victim) ending[victim] = true end)
  end
end

local uncounted = {}
for at = 11, #ARGV do
  uncounted[ARGV[at]] = true
end
local victims, others = {}, {}
for _, entry in ipairs(entries) do
  if entry.device == replaced then
    victims[#victims + 1] = replaced .. ':4'
  elseif entry.device ~= device and not ending[entry.device] and not uncounted[entry.device]
    and tonumber(death(entry.hard, entry.idle, entry.seen)) > now then
    others[#others + 1] = entry
  end
end

local ceiling = tonumber(ARGV[9])
local surplus = ceiling > 0 and #others + 1 - ceiling or 0
if surplus > 0 and ARGV[10] == 'reject' then
  local counted = { 'full' }
  for _, entry in ipairs(others) do
    counted[#counted + 1] = entry.device
    counted[#counted + 1] = entry.value
  end
  return counted
end
table.sort(others, function(a, b)
  if a.seen ~= b.seen then return tonumber(a.seen) < tonumber(b.seen) end
  if a.created ~= b.created then return tonumber(a.created) < tonumber(b.created) end
  return a.device < b.device
end)
for at = 1, surplus do
  victims[#victims + 1] = others[at].device .. ':3'
end

local list = #victims > 0 and table.concat(victims, ',') or '-'
redis.call('HSET', KEYS[1], 'd:' .. device, written({ state = 'p', hard = ARGV[4],
  idle = ARGV[5], seen = ARGV[6], created = ARGV[7], nonce = ARGV[3], begun = digits(clock()),
  victims = list }))
keep(KEYS[1], now)
return { 'begun', list }
