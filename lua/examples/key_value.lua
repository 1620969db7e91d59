-- A key-value server for one worker: SET key value, GET key, DELETE key, KEYS, QUIT. A line each, and a line in return.
--
--   portolan run -c key_value.lua
--   printf 'SET colour blue\nGET colour\n' | nc -N 127.0.0.1 7021
local values, count = {}, 0
local most = 10000

local commands = {}

function commands.SET(key, value)
  if not key or value == "" then return "error: SET key value" end
  if values[key] == nil then
    if count >= most then return "error: full" end
    count = count + 1
  end
  values[key] = value
  return "ok"
end

function commands.GET(key)
  return values[key] and "value " .. values[key] or "none"
end

function commands.DELETE(key)
  if not key or values[key] == nil then return "none" end
  values[key], count = nil, count - 1
  return "ok"
end

function commands.KEYS()
  local keys = {}
  for key in pairs(values) do keys[#keys + 1] = key end
  table.sort(keys)
  return #keys .. " " .. table.concat(keys, " ")
end

return {
  workers = 1,
  services = {
    { plugin = "script", name = "store", listen = "tcp://127.0.0.1:7021", max_message = "8KiB",
      on_session = function(session)
        for line in session:lines() do
          local name, key, value = line:match("^(%u+) ?(%S*) ?(.*)$")
          if name == "QUIT" then return end
          local command = commands[name]
          session:write(command and command(key ~= "" and key or nil, value) or "error: unknown command", "\n")
        end
      end },
  },
}
