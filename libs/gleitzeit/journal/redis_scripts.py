"""What changes a journal in Redis: each is one Lua script, so that a fence and what it guards cannot come apart.

Keys, behind the prefix:

    meta            hash    format
    member          hash    owner -> `until url`; until in milliseconds of the server's clock
    shard           hash    number -> `epoch owner`
    s:<stream>      hash    last, and the summary with the fields that `find` looks at
    e:<stream>      stream  records; the id of each is the number of its last event
    i:<kind>        sorted set of streams by age; and a:<kind> of the active ones, k:<kind>\\0<key>, t:<kind>\\0<status>
    n:<kind>        sorted set of streams by name
    b:<blob>        hash    size, whole, used_at, refs
    c:<blob>        string  its content, as far as it is there
    blobs           set     all blobs
    r:<stream>      set     blobs that it refers to

A script that has begun to write cannot fail halfway: whether there is memory for it is decided before its first write.
"""

FORMAT = 2
"""2 is 1 with records that may be compressed."""

_FENCE = """
local P = KEYS[1]
local c = cmsgpack.unpack(ARGV[1])
local function deposed()
  for _, f in ipairs(c.fences) do
    if redis.call('HGET', P .. 'shard', f[1]) ~= f[2] then return true end
  end
  return c.anybodys and redis.call('HEXISTS', P .. 'member', c.owner) == 0
end
local function unlist(name)
  local old = redis.call('HMGET', P .. 's:' .. name, 'kind', 'key', 'status')
  if old[1] then
    for _, set in ipairs({'i:' .. old[1], 'a:' .. old[1], 'n:' .. old[1], 'k:' .. old[1] .. '\\0' .. old[2],
                          't:' .. old[1] .. '\\0' .. old[3]}) do
      redis.call('ZREM', P .. set, name)
    end
  end
end
if deposed() then return 'fenced' end
"""

# ARGV[2…]: for each entry its summary, then for each of its records `id, count, crc, body`
APPEND = (
    _FENCE
    + """
for _, e in ipairs(c.entries) do
  local last = tonumber(redis.call('HGET', P .. 's:' .. e.stream, 'last') or 0)
  if last ~= e.seq - 1 then
    return string.format('%s ends at %d: cannot append %d', e.stream, last, e.seq)
  end
end
local at = 2
for _, e in ipairs(c.entries) do
  local s = P .. 's:' .. e.stream
  local old = redis.call('HMGET', s, 'kind', 'key', 'status', 'active', 'created')
  if old[1] ~= e.kind or old[2] ~= e.key or old[3] ~= e.status or old[4] ~= e.active or old[5] ~= e.created then
    unlist(e.stream)
    redis.call('ZADD', P .. 'i:' .. e.kind, e.created, e.stream)
    redis.call('ZADD', P .. 'n:' .. e.kind, 0, e.stream)
    redis.call('ZADD', P .. 'k:' .. e.kind .. '\\0' .. e.key, e.created, e.stream)
    redis.call('ZADD', P .. 't:' .. e.kind .. '\\0' .. e.status, e.created, e.stream)
    if e.active == '1' then redis.call('ZADD', P .. 'a:' .. e.kind, e.created, e.stream) end
  end
  redis.call('HSET', s, 'last', e.last, 'kind', e.kind, 'key', e.key, 'status', e.status, 'active', e.active,
             'created', e.created, 'summary', ARGV[at])
  at = at + 1
  for _ = 1, e.records do
    redis.call('XADD', P .. 'e:' .. e.stream, ARGV[at] .. '-0', 'n', ARGV[at + 1], 'c', ARGV[at + 2], 'b', ARGV[at + 3])
    at = at + 4
  end
  for _, blob in ipairs(e.blobs) do
    if redis.call('SADD', P .. 'r:' .. e.stream, blob) == 1 then redis.call('HINCRBY', P .. 'b:' .. blob, 'refs', 1) end
  end
end
return 'ok'
"""
)

DELETE = (
    _FENCE
    + """
for _, name in ipairs(c.streams) do
  unlist(name)
  for _, blob in ipairs(redis.call('SMEMBERS', P .. 'r:' .. name)) do
    redis.call('HINCRBY', P .. 'b:' .. blob, 'refs', -1)
  end
  redis.call('DEL', P .. 's:' .. name, P .. 'r:' .. name)
  redis.call('UNLINK', P .. 'e:' .. name)
end
return 'ok'
"""
)

# The newest `limit` of one sorted set that match, or with `after` the first by name, as one JSON array; the caller
# merges sets.
FIND = """
local P = KEYS[1]
local q = cmsgpack.unpack(ARGV[1])
local function any(list, value)
  if #list == 0 then return true end
  for _, v in ipairs(list) do if v == value then return true end end
  return false
end
local found = {}
local function look(name)
  local s = redis.call('HMGET', P .. 's:' .. name, 'kind', 'key', 'status', 'active', 'created', 'summary')
  local created = tonumber(s[5] or 0)
  if s[1] == q.kind and any(q.keys, s[2]) and any(q.statuses, s[3]) and (q.active == '' or q.active == s[4])
     and string.sub(name, 1, #q.prefix) == q.prefix
     and (not q.before or created < q.before or (created == q.before and name < q.before_name)) then
    table.insert(found, s[6])
  end
end
if q.after then
  local from = q.after < q.prefix and '[' .. q.prefix or '(' .. q.after
  while #found < q.limit do
    local upto = q.prefix == '' and '+' or '[' .. q.prefix .. '\\255'
    local names = redis.call('ZRANGEBYLEX', P .. 'n:' .. q.kind, from, upto, 'LIMIT', 0, q.limit)
    if #names == 0 then break end
    for _, name in ipairs(names) do
      if #found < q.limit then look(name) end
    end
    from = '(' .. names[#names]
  end
elseif q.set == '' then
  for _, name in ipairs(redis.call('ZRANGEBYLEX', P .. 'n:' .. q.kind, '[' .. q.prefix, '[' .. q.prefix .. '\\255')) do
    look(name)
  end
else
  local from = 0
  while #found < q.limit do
    local names = redis.call('ZREVRANGEBYSCORE', P .. q.set, q.before or '+inf', '-inf', 'LIMIT', from, 200)
    if #names == 0 then break end
    for _, name in ipairs(names) do
      if #found < q.limit then look(name) end
    end
    from = from + #names
  end
end
return '[' .. table.concat(found, ',') .. ']'
"""

# ARGV: how large a record may be, then streams. Answers those whose first record is all of them and no larger: a line
# for each, `which one, its last event, count, crc, size`, and the records one after the other. Two replies where there
# could be a thousand: to take one apart costs a client many times what it costs here.
SHORT = """
local P, most = KEYS[1], tonumber(ARGV[1])
local lines, bodies = {}, {}
for i = 2, #ARGV do
  local row = redis.call('XRANGE', P .. 'e:' .. ARGV[i], '-', '+', 'COUNT', 1)[1]
  local body = row and row[2][6]
  if body and #body <= most then
    local last = string.match(row[1], '^%d+')
    if last == redis.call('HGET', P .. 's:' .. ARGV[i], 'last') then
      table.insert(lines, string.format('%d %s %s %s %d', i - 2, last, row[2][2], row[2][4], #body))
      table.insert(bodies, body)
    end
  end
end
return {table.concat(lines, '\\n'), table.concat(bodies)}
"""

# ARGV: stream, the number of the event before, how many at most, after how many bytes to end. Answers the records, and
# where the stream should end if it ends with them
READ = """
local P, stream = KEYS[1], ARGV[1]
local at, size, rows = tonumber(ARGV[2]) + 1, 0, {}
local stop = ARGV[2] + ARGV[3]
while at <= stop and size < tonumber(ARGV[4]) do
  local page = redis.call('XRANGE', P .. 'e:' .. stream, string.format('%d-0', at), '+', 'COUNT', 4)
  if #page == 0 then return {rows, tonumber(redis.call('HGET', P .. 's:' .. stream, 'last') or 0)} end
  for _, row in ipairs(page) do
    if at <= stop and size < tonumber(ARGV[4]) then
      table.insert(rows, row)
      size = size + #(row[2][6] or '')
      at = tonumber(string.match(row[1], '^%d+')) + 1
    end
  end
end
return {rows, 0}
"""

# Every stream as `{summary, last}`, all of one moment.
LIST = """
local P, found, at = KEYS[1], {}, '0'
repeat
  local page = redis.call('SCAN', at, 'MATCH', string.gsub(P, '[%*%?%[%]\\\\]', '\\\\%0') .. 's:*', 'COUNT', 1000)
  at = page[1]
  for _, key in ipairs(page[2]) do
    local s = redis.call('HMGET', key, 'summary', 'last')
    if s[1] then table.insert(found, s) end
  end
until at == '0'
return found
"""

_MEMBERS = """
local P = KEYS[1]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function pair(text)
  local a, b = string.match(text, '^(%S+) (.*)$')
  return tonumber(a), b
end
local function each(hash, look)
  local all = redis.call('HGETALL', P .. hash)
  for i = 1, #all, 2 do look(all[i], pair(all[i + 1])) end
end
"""

# ARGV: owner, url, lease in ms, '1' if it believes to be a member, then shards. Answers shard, epoch, …
CLAIM = (
    _MEMBERS
    + """
local _, owner, url, lease = nil, ARGV[1], ARGV[2], tonumber(ARGV[3])
if ARGV[4] == '1' and redis.call('HEXISTS', P .. 'member', owner) == 0 then return 'fenced' end
if url == '' then
  local member = redis.call('HGET', P .. 'member', owner)
  if member then _, url = pair(member) end
end
local members = {[owner] = true}
each('member', function(name, until_, _)
  if name == owner or until_ >= now then
    members[name] = true
  else
    redis.call('HDEL', P .. 'member', name)
  end
end)
local epochs, holders = {}, {}
each('shard', function(number, epoch, holder)
  if holder ~= '' and not members[holder] then
    epoch, holder = epoch + 1, ''
    redis.call('HSET', P .. 'shard', number, string.format('%d ', epoch))
  end
  epochs[number], holders[number] = epoch, holder
end)
redis.call('HSET', P .. 'member', owner, string.format('%d %s', now + lease, url))
local answer = {}
for i = 5, #ARGV do
  local number = ARGV[i]
  local epoch, holder = epochs[number] or 0, holders[number] or ''
  if holder == '' then
    epoch, holder = epoch + 1, owner
    redis.call('HSET', P .. 'shard', number, string.format('%d %s', epoch, owner))
  end
  if holder == owner then
    table.insert(answer, tonumber(number))
    table.insert(answer, epoch)
  end
end
return answer
"""
)

RENEW = (
    _MEMBERS
    + """
local member = redis.call('HGET', P .. 'member', ARGV[1])
if not member then return 0 end
local _, url = pair(member)
redis.call('HSET', P .. 'member', ARGV[1], string.format('%d %s', now + tonumber(ARGV[2]), url))
return 1
"""
)

# ARGV: owner, '1' to leave altogether, with all that it has, else shards
RELEASE = (
    _MEMBERS
    + """
local named = {}
for i = 3, #ARGV do named[ARGV[i]] = true end
each('shard', function(number, epoch, holder)
  if holder == ARGV[1] and (ARGV[2] == '1' or named[number]) then
    redis.call('HSET', P .. 'shard', number, string.format('%d ', epoch))
  end
end)
if ARGV[2] == '1' then redis.call('HDEL', P .. 'member', ARGV[1]) end
return 1
"""
)

OWNERS = (
    _MEMBERS
    + """
local answer = {}
each('member', function(name, until_, url)
  if until_ > now then
    local lease = {name, url}
    each('shard', function(number, epoch, holder)
      if holder == name then
        table.insert(lease, tonumber(number))
        table.insert(lease, epoch)
      end
    end)
    table.insert(answer, lease)
  end
end)
return answer
"""
)

# ARGV: blob, size, offset, now, chunk. Answers {present, whole}, or the size that it has already
PUT = """
local P, name = KEYS[1], ARGV[1]
local b, content = P .. 'b:' .. name, P .. 'c:' .. name
local size = redis.call('HGET', b, 'size')
if size and size ~= ARGV[2] then return tonumber(size) end
local whole = redis.call('HGET', b, 'whole') == '1'
local present = redis.call('STRLEN', content)
redis.call('SADD', P .. 'blobs', name)
local used_at = math.max(tonumber(ARGV[4]), tonumber(redis.call('HGET', b, 'used_at') or 0))
redis.call('HSET', b, 'size', ARGV[2], 'used_at', string.format('%d', used_at))
if not whole and present == tonumber(ARGV[3]) then present = redis.call('APPEND', content, ARGV[5]) end
return {present, whole and 1 or 0}
"""

# ARGV: blob, '1' if its content is what its name says
COMPLETE = """
local P, name = KEYS[1], ARGV[1]
if ARGV[2] == '1' then
  redis.call('HSET', P .. 'b:' .. name, 'whole', '1')
elseif redis.call('HGET', P .. 'b:' .. name, 'whole') ~= '1' then
  redis.call('HDEL', P .. 'b:' .. name, 'size', 'used_at')
  redis.call('UNLINK', P .. 'c:' .. name)
  redis.call('SREM', P .. 'blobs', name)
end
return 1
"""

SWEEP = """
local P, gone = KEYS[1], 0
for _, name in ipairs(redis.call('SMEMBERS', P .. 'blobs')) do
  local b = redis.call('HMGET', P .. 'b:' .. name, 'used_at', 'refs')
  if tonumber(b[1] or 0) < tonumber(ARGV[1]) and tonumber(b[2] or 0) <= 0 then
    redis.call('UNLINK', P .. 'b:' .. name, P .. 'c:' .. name)
    redis.call('SREM', P .. 'blobs', name)
    gone = gone + 1
  end
end
return gone
"""
