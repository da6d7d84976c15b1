#!lua
-- shadow.lua: bids of route table, mirrored.  KEYS term shadowlog
--                                             [shadow:ID shadowbook:ID]...
--   ARGV term seconds entries members nrecords (bid_no text)*nrecords
--        nauctions auction*nauctions, each: fresh price leader bid_count
--        ends_at status npairs (amount user)*npairs
--
-- Does per record what append.lua does, so that it costs Redis as much, under
-- keys of its own that expire.  Nobody reads them but this script, which
-- answers with what it has found of each auction, so that the router sees what
-- was lost or changed since its call before.

local term = redis.call('HGET', KEYS[1], 'term')
if term ~= ARGV[1] then
  return {'TERM', term or ''}
end

local nrecords = tonumber(ARGV[5])
local at = 6 + 2 * nrecords     -- where nauctions stands
redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[3], '*',
           unpack(ARGV, 6, at - 1))
redis.call('EXPIRE', KEYS[2], ARGV[2])

local answer = {'OK'}
local from = at + 1
for i = 1, tonumber(ARGV[at]) do
  local key, book = KEYS[2 * i + 1], KEYS[2 * i + 2]
  local npairs = tonumber(ARGV[from + 6])
  local stored = redis.call('HMGET', key, 'price', 'leader', 'bid_count',
                            'ends_at', 'status')

  answer[#answer + 1] = redis.call('EXISTS', book) == 1 and '1' or '0'
  for j = 1, 5 do
    answer[#answer + 1] = stored[j] or ''
  end
  if ARGV[from] == '1' then
    redis.call('DEL', key, book)
  end
  redis.call('HSET', key, 'price', ARGV[from + 1], 'leader', ARGV[from + 2],
             'bid_count', ARGV[from + 3], 'ends_at', ARGV[from + 4],
             'status', ARGV[from + 5])
  redis.call('ZADD', book, 'GT', unpack(ARGV, from + 7, from + 6 + 2 * npairs))
  redis.call('ZREMRANGEBYRANK', book, '0',
             string.format('%.0f', -1 - tonumber(ARGV[4])))
  redis.call('EXPIRE', key, ARGV[2])
  redis.call('EXPIRE', book, ARGV[2])
  from = from + 7 + 2 * npairs
end
return answer
