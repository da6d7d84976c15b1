#!lua flags=allow-oom
-- beat.lua: the owner of a lane says that it is alive.          KEYS term
--                                      ARGV instance term lease released(0/1)
--
-- Who waits for the lane sees "beat" change.  A claim on it is void by that.
-- It needs no memory worth the name, and must not fail for want of it.

local stored = redis.call('HMGET', KEYS[1], 'instance', 'term', 'claim')
if stored[1] ~= ARGV[1] or stored[2] ~= ARGV[2] then
  return {'OTHER', stored[1] or '', stored[2] or ''}
end

redis.call('HINCRBY', KEYS[1], 'beat', 1)
redis.call('HSET', KEYS[1], 'lease', ARGV[3])
if stored[3] then
  redis.call('HDEL', KEYS[1], 'claim')
end
if ARGV[4] == '1' then
  redis.call('HSET', KEYS[1], 'released', '1')
end
return {'OK'}
