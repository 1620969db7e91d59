-- The daytime service (RFC 867): says what time it is, over TCP and UDP.
--
--   portolan run -c daytime.lua
--   nc 127.0.0.1 7013
local function daytime()
  return portolan.date() .. "\r\n"
end

return {
  services = {
    { plugin = "script", name = "daytime", listen = { "tcp://127.0.0.1:7013", "udp://127.0.0.1:7013" },
      on_session = function(session) session:write(daytime()) end,
      on_datagram = function(datagram) datagram:reply(daytime()) end },
  },
}
