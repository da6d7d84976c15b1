#!lua
-- mark.lua: a lane's log reaches a position. KEYS term
--                                           ARGV term position
--
-- A write of the connection that is to WAIT for replicas.  It is behind the
-- records in what replicas get, and it is refused where Redis has not got them
-- (any more), so that a WAIT behind it speaks of them or does not count.

local stored = redis.call('HMGET', KEYS[1], 'term', 'last')
if stored[1] ~= ARGV[1] then
  return {'TERM', stored[1] or ''}
end
if not stored[2] or tonumber(stored[2]) < tonumber(ARGV[2]) then
  return {'LAST', stored[2] or ''}
end
redis.call('HSET', KEYS[1], 'marked', ARGV[2])
return {'OK'}
