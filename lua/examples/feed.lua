-- A feed: every reading that comes in on one port goes out to all who listen on another, as JSON behind a length of four
-- bytes. The services may run on many workers: messages pass between them.
--
--   portolan run -c feed.lua
--   nc 127.0.0.1 7026 | xxd &
--   echo 'kitchen 21.5' | nc -N 127.0.0.1 7025
return {
  services = {
    { plugin = "script", name = "sensors", listen = { "tcp://127.0.0.1:7025", "udp://127.0.0.1:7025" },
      on_session = function(session)
        for line in session:lines() do
          local room, degrees = line:match("^(%w+) (%-?[%d.]+)$")
          if not room then session:write("error: ROOM DEGREES\n")
          else portolan.publish("reading/" .. room, { room = room, degrees = tonumber(degrees), time = portolan.now() }) end
        end
      end,
      on_datagram = function(datagram)
        local room, degrees = datagram.data:match("^(%w+) (%-?[%d.]+)")
        if room then portolan.publish("reading/" .. room, { room = room, degrees = tonumber(degrees), time = portolan.now() }) end
      end },
    { plugin = "script", name = "feed", listen = "tcp://127.0.0.1:7026", first_message_timeout = "0s", idle_timeout = "1h",
      on_session = function(session)
        local readings <close> = portolan.subscribe("reading/*", { queue = 100 })
        -- Who hangs up is noticed although nothing is expected from him.
        portolan.spawn(function() session:read() session:close() readings:close() end)
        for reading in readings:messages() do
          reading.missed = readings:missed()
          if not session:write_frame(portolan.json.encode(reading)) then return end
        end
      end },
  },
}
