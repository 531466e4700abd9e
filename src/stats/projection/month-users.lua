-- One page of a month's users by spend, highest first, with their counts, all of one moment.
--
-- KEYS[1] the checkpoint, a hash
-- KEYS[2] the month's totals, a hash
-- KEYS[3] the month's users by spend, a sorted set
-- ARGV[1] what the keys of the users' counts begin with
-- ARGV[2] how many users at most
-- ARGV[3] score and
-- ARGV[4] user id after which to go on; both empty for the first page
--
-- Runs behind answer-lines.lua. Returns its lines in one string, because that is what every Redis and model of it hands out
-- alike (ids have no line breaks); then orders, revenue, failed of the month (each empty where absent), then four lines a
-- user: id, orders, revenue, failed.

local counts = { 'orders', 'revenue', 'failed' }
for i = 1, #counts do put(redis.call('HGET', KEYS[2], counts[i])) end

local start = 0
if ARGV[4] ~= '' then
  local rank = redis.call('ZREVRANK', KEYS[3], ARGV[4])
  local score = redis.call('ZSCORE', KEYS[3], ARGV[4])
  if type(rank) == 'number' and type(score) == 'string' and tonumber(score) == tonumber(ARGV[3]) then
    start = rank + 1
  else
    -- The user's place changed since the page before: go on below the amount that page ended with.
    start = redis.call('ZCOUNT', KEYS[3], '(' .. ARGV[3], '+inf')
  end
end

local users = redis.call('ZREVRANGE', KEYS[3], start, start + tonumber(ARGV[2]) - 1)
for i = 1, #users do
  put(users[i])
  for j = 1, #counts do put(redis.call('HGET', ARGV[1] .. users[i], counts[j])) end
end
return table.concat(lines, '\n')
