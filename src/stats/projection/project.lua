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
--             'add'  a hash:       field, whole number of any size to add
--             'max'  a hash:       field, whole number below 2^53 to raise it to
--             'rank' a sorted set: member, and where its score is: the number of an earlier key, a blank, a field of it
--
-- Returns 'applied'; 'moved' where the checkpoint is not where the increments begin; 'damaged' where a key holds
-- something else than it should.

local MAX_EXACT = 9007199254740991
local LIMB = 1e15
local LIMB_DIGITS = 15
local MAX_DIGITS = 30
local PAIRS_PER_WRITE = 1000

local function is_whole(text)
  return type(text) == 'string' and #text <= MAX_DIGITS and string.match(text, '^%-?%d+$') ~= nil
end

-- Never one of the 32-bit integers that the model in memory has beside doubles.
local function double(digits)
  return tonumber(digits) + 0.0
end

local function is_exact(number)
  return number <= MAX_EXACT and number >= -MAX_EXACT
end

-- A whole number as high * LIMB + low, both with its sign.
local function limbs(text)
  local sign, digits = string.match(text, '^(%-?)(%d+)$')
  local high = double('0' .. string.sub(digits, 1, -LIMB_DIGITS - 1))
  local low = double(string.sub(digits, -LIMB_DIGITS))
  if sign == '-' then return -high, -low end
  return high, low
end

-- The sum of two whole numbers as texts. Most fit into a double; of the others the two limbs are added by themselves.
local function sum(one, other)
  local number, more = double(one), double(other)
  if is_exact(number) and is_exact(more) and is_exact(number + more) then
    return string.format('%.0f', number + more)
  end
  local high, low = limbs(one)
  local more_high, more_low = limbs(other)
  high = high + more_high
  low = low + more_low
  local sign = ''
  if high < 0 or (high == 0 and low < 0) then
    -- Not -low, which of 0 would be -0 and written so.
    sign, high, low = '-', 0 - high, 0 - low
  end
  if low < 0 then
    high, low = high - 1, low + LIMB
  elseif low >= LIMB then
    high, low = high + 1, low - LIMB
  end
  if high == 0 then return sign .. string.format('%.0f', low) end
  return sign .. string.format('%.0f%015.0f', high, low)
end

local fields = { 'ledger_id', 'generation', 'fold_version', 'position', 'entry_hash' }
for i = 1, #fields do
  if redis.call('HGET', KEYS[1], fields[i]) ~= ARGV[i] then return 'moved' end
end

local writes = {}
-- By number of the key and by field, what the hashes will hold.
local results = {}
local arg = 9
for k = 2, #KEYS do
  local key = KEYS[k]
  local action, lines = ARGV[arg], ARGV[arg + 1]
  arg = arg + 2

  local kind = redis.call('TYPE', key)
  if type(kind) == 'table' then kind = kind.ok end
  local wanted = action == 'rank' and 'zset' or 'hash'
  if kind ~= 'none' and kind ~= wanted then return 'damaged' end

  local command = action == 'rank' and 'ZADD' or 'HSET'
  local write = { command, key }
  local result = results[k] or {}
  results[k] = result
  for name, given in string.gmatch(lines, '([^\n]*)\n([^\n]*)\n') do
    if action == 'rank' then
      local ranked, field = string.match(given, '^(%d+) (.*)$')
      write[#write + 1] = results[tonumber(ranked)][field]
      write[#write + 1] = name
    else
      local stored = redis.call('HGET', key, name)
      if type(stored) ~= 'string' then stored = '0' end
      if not is_whole(stored) then return 'damaged' end
      if action == 'add' then
        result[name] = sum(stored, given)
      else
        result[name] = double(given) > double(stored) and given or stored
      end
      write[#write + 1] = name
      write[#write + 1] = result[name]
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
