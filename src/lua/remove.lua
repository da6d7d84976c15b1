#!lua flags=allow-oom
-- remove.lua: a consolidated auction goes.  KEYS term auction:ID book:ID
--                                           ARGV term
--
-- Frees memory, so it has to run when there is none left.

local term = redis.call('HGET', KEYS[1], 'term')
if term ~= ARGV[1] then
  return {'TERM', term or ''}
end
redis.call('UNLINK', KEYS[2], KEYS[3])
return {'OK'}
