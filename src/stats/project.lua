-- Adds increments to the live figures and moves the checkpoint, or does nothing at all.
--
-- Redis keeps what a failing script has already written. So everything is read, added up and checked first, and
-- only then written, as absolute values.
--
-- KEYS[1]   the checkpoint, a hash
-- KEYS[2…]  the keys to change
-- ARGV[1…5] the checkpoint that the increments begin at: ledger_id, generation, fold_version, position, entry_hash
-- ARGV[6…8] the checkpoint they lead to: position, entry_hash, at
-- ARGV[9…]  for each of KEYS[2…]: what to do, and with what: two lines a figure in one string, because an order of
--           10,000 lines in as many arguments overflows the stack of the model in memory (names have no line breaks)
--             'add'  a hash:       field, whole number to add
--             'max'  a hash:       field, whole number to raise it to
--             'rank' a sorted set: member, whole number to add to its score
--
-- Returns 'applied'; 'moved' where the checkpoint is not where the increments begin; 'damaged' where a key holds
-- something else than it should; 'too_large' where a figure would pass 2^53 - 1, beyond which it would not be exact.

local LARGEST = 9007199254740991
local PAIRS_PER_WRITE = 1000

local function whole(value, absent)
  if type(value) ~= 'string' then return absent end
  local number = tonumber(value)
  if not number or number % 1 ~= 0 then return nil end
  return number
end

local fields = { 'ledger_id', 'generation', 'fold_version', 'position', 'entry_hash' }
for i = 1, #fields do
  if redis.call('HGET', KEYS[1], fields[i]) ~= ARGV[i] then return 'moved' end
end

local writes = {}
local arg = 9
for k = 2, #KEYS do
  local key = KEYS[k]
  local action = ARGV[arg]
  local amounts = ARGV[arg + 1]
  arg = arg + 2

  local kind = redis.call('TYPE', key)
  if type(kind) == 'table' then kind = kind.ok end
  local wanted = action == 'rank' and 'zset' or 'hash'
  if kind ~= 'none' and kind ~= wanted then return 'damaged' end

  local command = action == 'rank' and 'ZADD' or 'HSET'
  local write = { command, key }
  for name, given in string.gmatch(amounts, '([^\n]*)\n([^\n]*)\n') do
    local amount = tonumber(given)
    local stored
    if action == 'rank' then
      stored = redis.call('ZSCORE', key, name)
    else
      stored = redis.call('HGET', key, name)
    end
    local value = whole(stored, 0)
    if not value then return 'damaged' end
    if action == 'max' then
      if amount > value then value = amount end
    else
      value = value + amount
    end
    if value > LARGEST or value < -LARGEST then return 'too_large' end
    local text = string.format('%.0f', value)
    if action == 'rank' then
      write[#write + 1] = text
      write[#write + 1] = name
    else
      write[#write + 1] = name
      write[#write + 1] = text
    end
    if #write >= 2 + 2 * PAIRS_PER_WRITE then
      writes[#writes + 1] = write
      write = { command, key }
    end
  end
  if #write > 2 then writes[#writes + 1] = write end
end

for i = 1, #writes do redis.call(unpack(writes[i])) end
redis.call('HSET', KEYS[1], 'position', ARGV[6], 'entry_hash', ARGV[7], 'at', ARGV[8])
return 'applied'
