#!lua
-- take.lua: a router takes a lane.          KEYS log term
--                                           ARGV uuid instance least_term
--
-- Reads and checks everything before it writes anything: a key of another
-- type, or a term that is no number, ends the script with nothing changed.
-- The log's end is asked of the stream itself: the hash may have come back
-- older or newer than the stream, the stream cannot be wrong about its own
-- last ID.

local stored = redis.call('HMGET', KEYS[2], 'uuid', 'term', 'instance')
if stored[1] and stored[1] ~= ARGV[1] then
  return {'OTHER', stored[1]}
end

local last, length = '0', '0'
local found = redis.call('EXISTS', KEYS[1]) == 1
if found then
  local info = redis.call('XINFO', 'STREAM', KEYS[1])
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then
      last = string.match(info[i + 1], '^(%d+)%-')
    elseif info[i] == 'length' then
      length = string.format('%.0f', info[i + 1])
    end
  end
end

local highest = math.max(tonumber(stored[2] or '0'), tonumber(ARGV[3]))
local term = string.format('%.0f', highest + 1)

-- An append never creates the log (NOMKSTREAM), so that it notices when the
-- log is gone.  0-1 is the smallest ID a stream takes; trimming keeps it as
-- the last one.
if not found then
  redis.call('XADD', KEYS[1], '0-1', '0', 'begin')
  redis.call('XTRIM', KEYS[1], 'MAXLEN', '0')
end
redis.call('HSET', KEYS[2], 'uuid', ARGV[1], 'term', term,
           'instance', ARGV[2], 'last', last)

return {'TAKEN', term, last, stored[3] or '', length}
