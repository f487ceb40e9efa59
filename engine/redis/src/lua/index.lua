-- In front of every script on the index of an email: a hash with
-- - d:<device>: state (l(ive) or p(ending)), hard death, idle limit or -, last use, login, and of
--   a pending login its nonce, when it was begun by the clock of Redis, and whom it ends
--   (device:reason, apart by commas), or - for each;
-- - e:<nonce>: reason, when it was begun, and the devices that somebody ends;
-- - generation: counts changes of the list.

local function parsed(value)
  local state, hard, idle, seen, created, nonce, begun, victims =
    string.match(value, '^(%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+)$')
  return { state = state, hard = hard, idle = idle, seen = seen, created = created,
    nonce = nonce, begun = begun, victims = victims }
end

local function written(entry)
  return table.concat({ entry.state, entry.hard, entry.idle, entry.seen, entry.created,
    entry.nonce, entry.begun, entry.victims }, ' ')
end

local function bump(key)
  local last = tonumber(redis.call('HGET', key, 'generation') or '0')
  redis.call('HSET', key, 'generation', digits(math.max(last + 1, clock())))
end

-- The index goes with the last record that it names, or an hour after what is under way.
local function keep(key, now)
  local latest, busy = nil, false
  for name, value in pairs((fields(key))) do
    local kind = string.sub(name, 1, 2)
    if kind == 'd:' then
      local entry = parsed(value)
      latest = math.max(latest or 0, tonumber(entry.hard))
      busy = busy or entry.state == 'p'
    elseif kind == 'e:' then
      busy = true
    end
  end
  if not latest and not busy then
    redis.call('DEL', key)
    return
  end
  local at = clock()
  local lives = math.max(latest or 0, at + (latest or now) - now)
  if busy then
    lives = math.max(lives, at + 3600 * 1000000)
  end
  redis.call('PEXPIREAT', key, digits(math.ceil(lives / 1000)))
end

local function each_victim(list, visit)
  for device, reason in string.gmatch(list, '(%x+):?(%d*)') do
    visit(device, reason)
  end
end
