-- The products with most revenue and those sold most, each with both figures, all of one moment.
--
-- KEYS[1] the checkpoint, a hash
-- KEYS[2] products by revenue, a sorted set
-- KEYS[3] products by quantity, a sorted set
-- ARGV[1] how many at most in each list
--
-- Returns lines in one string, as month-users.lua does and for the same reason: ledger_id, generation, fold_version,
-- position, at, evicted (each empty where absent), how many keys Redis has evicted so far, the number of products by
-- revenue, then three lines a product, by revenue and after them by quantity: id, revenue, quantity.

local lines = {}
local function put(value)
  lines[#lines + 1] = type(value) == 'string' and value or ''
end

local fields = { 'ledger_id', 'generation', 'fold_version', 'position', 'at', 'evicted' }
for i = 1, #fields do put(redis.call('HGET', KEYS[1], fields[i])) end
local info = redis.call('INFO', 'stats')
-- The model in memory hands out no text here; it evicts nothing.
put(type(info) == 'string' and string.match(info, 'evicted_keys:(%d+)') or '0')

local last = tonumber(ARGV[1]) - 1
local by_revenue = redis.call('ZREVRANGE', KEYS[2], 0, last)
local by_quantity = redis.call('ZREVRANGE', KEYS[3], 0, last)
put(string.format('%d', #by_revenue))
local function put_products(ids)
  for i = 1, #ids do
    put(ids[i])
    put(redis.call('ZSCORE', KEYS[2], ids[i]))
    put(redis.call('ZSCORE', KEYS[3], ids[i]))
  end
end
put_products(by_revenue)
put_products(by_quantity)
return table.concat(lines, '\n')
