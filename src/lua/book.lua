#!lua flags=no-writes
-- book.lua: the best bids of an auction.    KEYS auction:ID book:ID
--                                           ARGV n retracted
--
-- Says first whether the book is whole: where it is not, the reader asks the
-- tables instead.  Price and leader are those of the same moment, so that the
-- reader can show no more of a maximum than the price does.  Only reads, hence
-- works in a full Redis, too.

local stored = redis.call('HMGET', KEYS[1], 'bid_count', 'book', 'retracted',
                          'price', 'leader')
local bid_count = stored[1] or '0'
local n = tonumber(ARGV[1])
local complete = stored[1] and stored[1] == stored[2] and
                 (stored[3] or '0') == ARGV[2]

-- A mark without its sorted set: somebody deleted or evicted the set.
if complete and bid_count ~= ARGV[2] then
  complete = redis.call('EXISTS', KEYS[2]) == 1
end

local answer = {complete and '1' or '0', bid_count, stored[4] or '0',
                stored[5] or ''}
if n > 0 then
  local rows = redis.call('ZRANGE', KEYS[2], '0',
                          string.format('%.0f', n - 1), 'REV', 'WITHSCORES')
  for i = 1, #rows do
    answer[i + 4] = rows[i]
  end
end
return answer
