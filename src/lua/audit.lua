#!lua flags=no-writes
-- audit.lua: what there is of an auction.   KEYS auction:ID book:ID
--                                           ARGV n
--
-- Hash and book of one moment, as they are: whoever asks compares them with
-- what he knows.  A key of another type ends the script with an error.

local stored = redis.call('HMGET', KEYS[1], 'price', 'leader', 'bid_count',
                          'ends_at', 'status', 'book', 'retracted')
local answer = {tostring(redis.call('EXISTS', KEYS[1]))}
for i = 1, 7 do
  answer[i + 1] = stored[i] or ''
end
answer[9] = string.format('%.0f', redis.call('ZCARD', KEYS[2]))
local rows = redis.call('ZRANGE', KEYS[2], '0',
                        string.format('%.0f', tonumber(ARGV[1]) - 1), 'REV',
                        'WITHSCORES')
for i = 1, #rows do
  answer[i + 9] = rows[i]
end
return answer
