#!lua
-- rebuild.lua: writes an auction anew.      KEYS term auction:ID book:ID
--   ARGV term begin|add|show last(0/1) npairs (amount user)*npairs
--        channel price leader bid_count ends_at status retracted
--
-- The chunks of one rebuild come over many turns of the router, appends in
-- between.  To begin deletes the old book and notes the term; all appends
-- since then are in the new one, too, and it is whole when the chunks have
-- brought everything up to that moment.  A chunk that does not find the note
-- belongs to a rebuild that Redis has forgotten.

local term = redis.call('HGET', KEYS[1], 'term')
if term ~= ARGV[1] then
  return {'TERM', term or ''}
end

local npairs = tonumber(ARGV[4])
local state = 5 + 2 * npairs
if ARGV[2] == 'add' then
  if redis.call('HGET', KEYS[2], 'rebuild') ~= term then
    return {'GONE'}
  end
else
  local price, leader, bid_count, ends_at, status = unpack(ARGV, state + 1,
                                                           state + 5)
  redis.call('HSET', KEYS[2], 'price', price, 'leader', leader,
             'bid_count', bid_count, 'ends_at', ends_at, 'status', status)
  if ARGV[2] == 'begin' then
    redis.call('UNLINK', KEYS[3])
    redis.call('HDEL', KEYS[2], 'book')
    redis.call('HSET', KEYS[2], 'rebuild', term)
  end
  redis.call('PUBLISH', ARGV[state],
             table.concat({price, leader ~= '' and leader or '-', bid_count,
                           ends_at, status}, ' '))
end

if npairs > 0 then
  redis.call('ZADD', KEYS[3], 'GT', unpack(ARGV, 5, 4 + 2 * npairs))
end
if ARGV[3] == '1' then
  redis.call('HSET', KEYS[2], 'book', redis.call('HGET', KEYS[2], 'bid_count'),
             'retracted', ARGV[state + 6])
  redis.call('HDEL', KEYS[2], 'rebuild')
end
return {'OK'}
