#!lua
-- append.lua: appends one batch of a lane.  KEYS log term
--                                                [auction:ID book:ID]...
--   ARGV term previous last nrecords (position text)*nrecords nauctions
--        auction*nauctions, each: channel price leader bid_count ends_at
--        status first_bid_no loaded(0/1) npairs (amount user)*npairs
--
-- Checks first, appends second, and only then touches what is derived from
-- the log.  Redis does not undo what a failed script has done, so nothing
-- before the XADD may write, and nothing behind it may fail the script: the
-- records are in the log by then, and the caller has to hear so.

local stored = redis.call('HMGET', KEYS[2], 'term', 'last')
if stored[1] ~= ARGV[1] then
  return {'TERM', stored[1] or ''}
end
if stored[2] ~= ARGV[2] then
  return {'LAST', stored[2] or ''}
end

local nrecords = tonumber(ARGV[4])
local at = 5 + 2 * nrecords     -- where nauctions stands
local id = redis.call('XADD', KEYS[1], 'NOMKSTREAM', ARGV[3] .. '-0',
                      unpack(ARGV, 5, at - 1))
if not id then
  return {'GONE'}
end
redis.call('HSET', KEYS[2], 'last', ARGV[3])

-- The auction whose arguments begin at "from".
local function show(key, book, from, npairs)
  local price, leader, bid_count = ARGV[from + 1], ARGV[from + 2],
                                   ARGV[from + 3]
  local ends_at, status = ARGV[from + 4], ARGV[from + 5]
  local first, loaded = tonumber(ARGV[from + 6]), ARGV[from + 7] == '1'
  local joined = bid_count == '0'

  -- The book is whole up to the mark; without its sorted set, up to nothing,
  -- unless every bid up to there is retracted.
  if first > 0 then
    local mark = tonumber(redis.call('HGET', key, 'book') or '0')
    if mark > 0 and redis.call('EXISTS', book) == 0 and
       mark ~= tonumber(redis.call('HGET', key, 'retracted') or '0') then
      mark = 0
    end
    -- Bids that come again may be in the book already.  But the first one since
    -- the auction was loaded is new: those in its place were given up.
    if loaded and mark >= first then
      redis.call('HDEL', key, 'book')
      mark = -1
      if first == 1 then
        redis.call('UNLINK', book)
        mark = 0
      end
    end
    joined = first <= mark + 1
  end

  redis.call('HSET', key, 'price', price, 'leader', leader,
             'bid_count', bid_count, 'ends_at', ends_at, 'status', status)
  if npairs > 0 then
    redis.call('ZADD', book, 'GT', unpack(ARGV, from + 9,
                                          from + 8 + 2 * npairs))
  end
  if joined then
    redis.call('HSET', key, 'book', bid_count)
  end
  redis.call('PUBLISH', ARGV[from],
             table.concat({price, leader ~= '' and leader or '-', bid_count,
                           ends_at, status}, ' '))
end

-- Broken arguments are caught, too: each auction for itself, and around all.
local message
local function show_all()
  local from = at + 1
  for i = 1, tonumber(ARGV[at]) do
    local npairs = tonumber(ARGV[from + 8])
    local done, problem = pcall(show, KEYS[2 * i + 1], KEYS[2 * i + 2], from,
                                npairs)
    if not done then
      message = message or problem
    end
    from = from + 9 + 2 * npairs
  end
end

local done, problem = pcall(show_all)
if not done then
  message = message or problem
end
if message then
  return {'OK', type(message) == 'table' and message.err or message}
end
return {'OK'}
