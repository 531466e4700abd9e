-- The first members of some rankings with the figures of each, all of one moment.
--
-- KEYS[1]   the checkpoint, a hash
-- KEYS[2…]  the rankings, sorted sets of the same kind of members
-- ARGV[1]   how many members at most of each
-- ARGV[2…]  for each figure of a member two: what the keys of the members' hashes begin with, and a field of them; or the
--           key of one hash that has the members for its fields, and an empty text
--
-- Runs behind answer-lines.lua. Returns its lines in one string, as month-users.lua does and for the same reason; then of
-- each ranking the number of members that follow, and of each of these its name and its figures.

for k = 2, #KEYS do
  local members = redis.call('ZREVRANGE', KEYS[k], 0, tonumber(ARGV[1]) - 1)
  put(string.format('%d', #members))
  for i = 1, #members do
    put(members[i])
    for j = 2, #ARGV, 2 do
      if ARGV[j + 1] == '' then
        put(redis.call('HGET', ARGV[j], members[i]))
      else
        put(redis.call('HGET', ARGV[j] .. members[i], ARGV[j + 1]))
      end
    end
  end
end
return table.concat(lines, '\n')
