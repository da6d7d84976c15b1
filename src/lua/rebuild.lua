#!lua
-- rebuild.lua: writes an auction anew.      KEYS term auction:ID book:ID
--   ARGV term price leader bid_count ends_at status replace(0/1) npairs
--        (amount user)*npairs last_chunk(0/1)
--
-- The chunks of one rebuild are sent back to back.  Should an append slip in
-- between them all the same, a later chunk must not take the bid count back;
-- the mark then says less than the bid count, which means "not complete".

local term = redis.call('HGET', KEYS[1], 'term')
if term ~= ARGV[1] then
  return {'TERM', term or ''}
end

local npairs = tonumber(ARGV[8])
local behind = false
if ARGV[7] == '1' then
  redis.call('UNLINK', KEYS[3])
  redis.call('HDEL', KEYS[2], 'book')
else
  local bid_count = redis.call('HGET', KEYS[2], 'bid_count') or '0'
  behind = tonumber(ARGV[4]) < tonumber(bid_count)
end

if not behind then
  redis.call('HSET', KEYS[2], 'price', ARGV[2], 'leader', ARGV[3],
             'bid_count', ARGV[4], 'ends_at', ARGV[5], 'status', ARGV[6])
end
if npairs > 0 then
  redis.call('ZADD', KEYS[3], 'GT', unpack(ARGV, 9, 8 + 2 * npairs))
end
if ARGV[9 + 2 * npairs] == '1' then
  redis.call('HSET', KEYS[2], 'book', ARGV[4])
end
return {'OK'}
