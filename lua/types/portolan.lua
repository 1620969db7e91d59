---@meta portolan
-- What scripts can call, for editors with the Lua language server. Made from the program: do not edit.

---@class portolan
portolan = { net = {}, store = {}, base64 = {}, hex = {}, json = { null = nil }, protobuf = {} }

--- waits: "1.5s", or a number of seconds
---@param duration string|number
function portolan.sleep(duration) end

--- runs it as a task beside this one; a session's ends with the session
---@param func function
---@param ... any
---@return portolan.task
function portolan.spawn(func, ...) end

--- calls it again and again, with so much time between
---@param duration string|number
---@param func function
---@return portolan.task
function portolan.every(duration, func) end

--- calls it once, after this time
---@param duration string|number
---@param func function
---@return portolan.task
function portolan.after(duration, func) end

--- seconds of a clock that only goes forward, for intervals
---@return number
function portolan.clock() end

--- the name of the service whose function this is
---@return string
function portolan.service() end

--- What spawn, every and after answer.
---@class portolan.task
local task = {}

--- its wait, or its next one, raises an error
function task:cancel() end

--- it has ended
---@return boolean
function task:is_done() end

--- connects: tcp://, tls://, rudp://, unix://; options: timeout (10s), source, tls = { name, ca, pins, verify, … }, rudp = { key, key_file, congestion, max_rate, … }, pool = true or { max (64), idle (8), idle_timeout (60s) }: one that was released, or a new one
---@param address string
---@param options? table
---@return portolan.stream|nil
---@return string?
function portolan.dial(address, options) end

--- A session, or what dial answers. Its fields: id, peer, transport, service, over TLS server_name, and reused, when others had it from a pool before. What waits takes a timeout in its options.
---@class portolan.stream
local stream = {}

--- so many bytes; without a count what there is, at least one
---@param count? number
---@param options? table
---@return string|nil
---@return string?
---@return string?
function stream:read(count, options) end

--- what there is, at least one byte and at most `max`
---@param options? table
---@return string|nil
---@return string?
function stream:read_some(options) end

--- a line without its ending, at most `max` bytes
---@param options? table
---@return string|nil
---@return string?
---@return string?
function stream:read_line(options) end

--- what comes before the delimiter, which is taken too
---@param delimiter string
---@param options? table
---@return string|nil
---@return string?
---@return string?
function stream:read_until(delimiter, options) end

--- a message behind its length: `header` bytes (1, 2 or 4), `endian` "big" or "little", at most `max`
---@param options? table
---@return string|nil
---@return string?
---@return string?
function stream:read_frame(options) end

--- for line in session:lines() do … end
---@return function
function stream:lines() end

--- sends the texts and numbers; waits when the peer has left more than output_limit unread
---@param text string
---@param ... any
---@return true|nil
---@return string?
function stream:write(text, ...) end

--- sends a message behind its length: `header` and `endian` as in read_frame
---@param text string
---@param options? table
---@return true|nil
---@return string?
function stream:write_frame(text, options) end

--- the peer sees an end; reading goes on
function stream:finish() end

--- ends it when all is sent
function stream:close() end

--- of one that was dialed with pool: the exchange is over, and the next dial may have it. False: it was of no more use
---@return boolean
function stream:release() end

--- ends it at once: the peer sees a reset
function stream:reset() end

--- for reads and writes that name none; nil or 0: none
---@param duration? string|number
function stream:timeout(duration) end

--- neither side has closed it
---@return boolean
function stream:is_open() end

--- What on_datagram is given. Its fields: data, peer, id.
---@class portolan.datagram
local datagram = {}

--- a datagram back, from the address that this one came to
---@param text string
---@return true|nil
---@return string?
function datagram:reply(text) end

--- a socket that talks with one udp:// address
---@param address string
---@return portolan.socket|nil
---@return string?
function portolan.udp(address) end

--- What udp answers.
---@class portolan.socket
local socket = {}

--- one datagram
---@param text string
---@return true|nil
---@return string?
function socket:send(text) end

--- the next datagram; options: timeout (30s)
---@param options? table
---@return string|nil
---@return string?
function socket:receive(options) end

--- ends it
function socket:close() end

--- to all who subscribe, in any service on any worker; a table travels as JSON. False: nobody does
---@param topic string
---@param value any
---@return boolean
function portolan.publish(topic, value) end

--- a topic, or a beginning and "*"; options: queue (1000 messages; 4 MiB at most)
---@param topic string
---@param options? table
---@return portolan.subscription
function portolan.subscribe(topic, options) end

--- What subscribe answers.
---@class portolan.subscription
local subscription = {}

--- waits for the next message; options: timeout
---@param options? table
---@return any
---@return string?|nil
---@return string?
function subscription:receive(options) end

--- for value, topic in subscription:messages() do … end
---@return function
function subscription:messages() end

--- messages dropped, the oldest first, since it was last asked
---@return integer
function subscription:missed() end

--- ends it
function subscription:close() end

--- no service serves this client for so long, and its sessions end; `portolan bans` lists and lifts it
---@param address string
---@param duration string|number
---@param reason? string
---@return true|nil
---@return string?
function portolan.ban(address, duration, reason) end

--- asks the name servers, or a cache in front; options: family "ipv4" or "ipv6", timeout (10s)
---@param name string
---@param options? table
---@return table|nil
---@return string?
function portolan.resolve(name, options) end

--- "192.0.2.1", "[::1]:80"; scope: loopback, private, link-local, multicast, global, …
---@param text string
---@return table|nil
---@return string?
function portolan.net.parse(text) end

--- "10.0.0.0/8", "10.1.2.3"
---@param network string
---@param address string
---@return boolean|nil
---@return string?
function portolan.net.contains(network, address) end

--- name, index, mtu, mac, flags, addresses
---@return table|nil
---@return string?
function portolan.net.interfaces() end

--- asks the database; the rows have the columns' names. It sees what has been flushed, and changes nothing
---@param sql string
---@param ... any
---@return table
---@return boolean|nil
---@return string?
function portolan.query(sql, ...) end

--- keeps a text, a number or a boolean (as 0 or 1) under the service's name; nil deletes; options: expires, a duration
---@param key string
---@param value any
---@param options? table
---@return true|nil
---@return string?
function portolan.store.put(key, value, options) end

--- what was put, by whichever worker or run of the daemon
---@param key string
---@return any|nil
---@return string?
function portolan.store.get(key) end

--- adds, by default 1, and answers the sum
---@param key string
---@param by? number
---@param options? table
---@return integer|nil
---@return string?
function portolan.store.increment(key, by, options) end

--- a table with the keys 1 to n is a list, any other an object
---@param value any
---@return string
function portolan.json.encode(value) end

--- null is portolan.json.null
---@param text string
---@return any|nil
---@return string?
function portolan.json.decode(text) end

--- marks a table as a list, which matters when it is empty
---@param table? table
---@return table
function portolan.json.array(table) end

--- reads a .proto file; options: imports, a table of the names and texts of what it imports. Raises line:column and what was expected
---@param text string
---@param options? table
---@return portolan.schema
function portolan.protobuf.load(text, options) end

--- reads what `protoc --include_imports --descriptor_set_out=FILE` has written
---@param bytes string
---@return portolan.schema
function portolan.protobuf.load_descriptor(bytes) end

--- What load and load_descriptor answer.
---@class portolan.schema
local schema = {}

--- the message of this full name, as bytes: the same for the same table
---@param name string
---@param table table
---@return string|nil
---@return string?
function schema:encode(name, table) end

--- options: defaults (false), which fills in what is absent because it has the default value
---@param name string
---@param bytes string
---@param options? table
---@return table|nil
---@return string?
function schema:decode(name, bytes, options) end

--- the full names of all messages
---@return table
function schema:messages() end

--- RFC 4648 section 4, with padding
---@param bytes string
---@return string
function portolan.base64.encode(bytes) end

--- strict: no white space, with padding
---@param text string
---@return string|nil
---@return string?
function portolan.base64.decode(text) end

--- lower case
---@param bytes string
---@return string
function portolan.hex.encode(bytes) end

--- either case
---@param text string
---@return string|nil
---@return string?
function portolan.hex.decode(text) end

--- sha256, sha512, sha1, md5; hexadecimal unless raw is true
---@param algorithm string
---@param bytes string
---@param raw? boolean
---@return string
function portolan.hash(algorithm, bytes, raw) end

--- a keyed hash (RFC 2104)
---@param algorithm string
---@param key string
---@param bytes string
---@param raw? boolean
---@return string
function portolan.hmac(algorithm, key, bytes, raw) end

--- compares secrets: it takes as long wherever they differ
---@param text string
---@param text2 string
---@return boolean
function portolan.same(text, text2) end

--- unpredictable bytes, at most 65536
---@param count number
---@return string
function portolan.random(count) end

--- adds to a counter of the service: it appears in `portolan stats`, /metrics and the view plugin_counters. At most 100 names
---@param name string
---@param by? number
function portolan.count(name, by) end

--- how often, on this worker: "5/s", "100/m"; options: window (1s: so much of the rate at once), keys (10000), algorithm (token_bucket, fixed_window, sliding_window)
---@param rate string
---@param options? table
---@return limit
function portolan.limit(rate, options) end

--- What limit answers.
---@class portolan.limit
local limit = {}

--- whether it may be now, and is counted; if not, in how many seconds to ask again. Each key has a limit of its own
---@param key? string
---@param cost? string
---@return boolean
---@return seconds
function limit:take(key, cost) end

--- a line in the log, with the name of the service; print(…) does the same
---@param text string
function portolan.log(text) end

--- the time: seconds since 1970, with their fraction
---@return number
function portolan.now() end

--- the time as 2026-01-31T23:59:59Z, in UTC (ISO 8601)
---@param time? number
---@return string
function portolan.date(time) end
