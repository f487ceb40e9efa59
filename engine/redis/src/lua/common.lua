-- In front of every script. Times are microseconds since the epoch. Lua has no integers, but its
-- numbers are exact up to the year 2255; beyond, a text is kept as it came.

local function clock()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000000 + tonumber(time[2])
end

local function digits(number)
  return string.format('%.0f', number)
end

local function fields(key)
  local flat, map = redis.call('HGETALL', key), {}
  for at = 1, #flat, 2 do
    map[flat[at]] = flat[at + 1]
  end
  return map, flat
end

-- Lets `key` go when `dies` has come by the clock of the caller and by the clock of Redis:
-- neither frees what lives by the other.
local function expire(key, dies, now)
  local at = math.max(dies, clock() + dies - now)
  redis.call('PEXPIREAT', key, digits(math.ceil(at / 1000)))
end

-- A note why a session ended: e(nded) or f(enced), reason, verifier, when to forget it, by whom.
local function note_of(key)
  local text = redis.call('GET', key)
  if not text then
    return nil
  end
  local kind, reason, verifier, forget, by = string.match(text, '^(%S+) (%S+) (%S+) (%S+) (%S+)$')
  return { kind = kind, reason = reason, verifier = verifier, forget = forget, by = by }, text
end

-- Whether the row was written by somebody else since this program wrote its own fields.
local function is_foreign(row)
  return row.dies_at == nil or row.written ~= row.refresh_expiry
end

-- The last use and the previous visit: those of `row`, or the given ones if they are not earlier.
local function later_use(row, seen, previous)
  if row.last_seen_at and tonumber(row.last_seen_at) > tonumber(seen) then
    return row.last_seen_at, row.previous_visit_at
  end
  return seen, previous
end

-- When a row of the index or a record dies: the hard limit, or the idle limit after its last use.
local function death(hard, idle, seen)
  if idle ~= '-' then
    local idle_death = tonumber(seen) + tonumber(idle)
    if idle_death < tonumber(hard) then
      return digits(idle_death)
    end
  end
  return hard
end
