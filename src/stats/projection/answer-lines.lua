-- What month-users.lua and rankings.lua begin with: collects lines, the checkpoint first.
--
-- KEYS[1]   the checkpoint, a hash
--
-- Puts ledger_id, generation, fold_version, position, at, evicted (each empty where absent), and how many keys Redis has
-- evicted so far; defines `lines` and `put`.

local lines = {}
local function put(value)
  lines[#lines + 1] = type(value) == 'string' and value or ''
end

local fields = { 'ledger_id', 'generation', 'fold_version', 'position', 'at', 'evicted' }
for i = 1, #fields do put(redis.call('HGET', KEYS[1], fields[i])) end
local info = redis.call('INFO', 'stats')
-- The model in memory hands out no text here; it evicts nothing.
put(type(info) == 'string' and string.match(info, 'evicted_keys:(%d+)') or '0')

