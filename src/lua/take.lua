#!lua
-- take.lua: a router takes a lane.          KEYS log term
--      ARGV uuid instance least_term place lease how seen own_last
--
-- Looks at the owner and takes in one step (rules 10, 11).  Reads and checks
-- everything before it writes anything: a key of another type, or a term that
-- is no number, ends the script with nothing changed.
-- The log's end is asked of the stream itself: the hash may have come back
-- older or newer than the stream, the stream cannot be wrong about its own
-- last ID.

local uuid, instance, least = ARGV[1], ARGV[2], tonumber(ARGV[3])
local place, lease, how, seen = ARGV[4], ARGV[5], ARGV[6], ARGV[7]

local stored = redis.call('HMGET', KEYS[2], 'uuid', 'term', 'instance',
                          'place', 'lease', 'beat', 'released', 'claim')
local owner, claim = stored[3] or '', stored[8] or ''
local term = tonumber(stored[2] or '0')

-- What changes whenever the owner is alive, or another one moves first.
local function token(claimed)
  return table.concat({stored[1] or '-', owner ~= '' and owner or '-',
                       stored[2] or '0', stored[6] or '0', claimed}, ' ')
end

-- An adopted lane may be a copy's, under another database's number: what is
-- before the slash is the lane's own.
local function same_lane()
  return string.match(stored[1], '^[^/]*') == string.match(uuid, '^[^/]*')
end
local other = stored[1] and stored[1] ~= uuid
if other and how ~= 'discard' and not (how == 'adopt' and same_lane()) then
  return {'OTHER', stored[1]}
end

local last, length = '0', '0'
local found = redis.call('EXISTS', KEYS[1]) == 1
-- a log that is about to be discarded may be anything
local readable = found and how ~= 'discard'
if readable then
  local info = redis.call('XINFO', 'STREAM', KEYS[1])
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then
      last = string.match(info[i + 1], '^(%d+)%-')
    elseif info[i] == 'length' then
      length = string.format('%.0f', info[i + 1])
    end
  end
end

-- May it be taken at once?
local silent = seen == token(claim)
local may
if how == 'adopt' then
  may = true
elseif other then
  may = false
elseif owner == '' then
  may = how == 'first' or how == 'held' or how == 'discard'
elseif how == 'held' and owner == instance then
  may = true
elseif claim ~= '' then
  may = false                   -- it may have been taken, and Redis lost that
else
  may = owner == instance or stored[4] == place or
        (stored[7] == '1' and how ~= 'fenced')
end

if not may and not (silent and (claim == instance or owner == '')) then
  -- A claim first: should Redis forget the take, the owner it then names
  -- sees that there was to be one.
  local answer = 'HELD'
  if silent then
    redis.call('HSET', KEYS[2], 'claim', instance)
    claim = instance
    answer = 'CLAIMED'
  end
  local common = ''
  if readable and ARGV[8] ~= '0' then
    local entry = redis.call('XREVRANGE', KEYS[1], ARGV[8] .. '-1', '-',
                             'COUNT', '1')[1]
    common = entry and string.match(entry[1], '^(%d+)%-') or ''
  end
  return {answer, token(claim), owner, stored[2] or '0', stored[5] or '0',
          common}
end

term = string.format('%.0f', math.max(term, least) + 1)

-- An append never creates the log (NOMKSTREAM), so that it notices when the
-- log is gone.  0-1 is the smallest ID a stream takes; trimming keeps it as
-- the last one.
if not found then
  redis.call('XADD', KEYS[1], '0-1', '0', 'begin')
  redis.call('XTRIM', KEYS[1], 'MAXLEN', '0')
end
redis.call('HSET', KEYS[2], 'uuid', uuid, 'term', term,
           'instance', instance, 'last', last, 'place', place,
           'lease', lease, 'beat', '0')
redis.call('HDEL', KEYS[2], 'released', 'claim')

return {'TAKEN', term, last, owner, length}
