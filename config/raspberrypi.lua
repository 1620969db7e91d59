-- For a Raspberry Pi on the LAN: four cores, an SD card, started by systemd (firmware/systemd/portolan.service).
--
-- The unit gives it a user of its own and the state directory /var/lib/portolan. Listens on all addresses: a Pi usually
-- stands behind the router's firewall; where it does not, write its address on the LAN.

-- The same for every service of this machine.
local function with_limits(service)
  service.max_sessions = 2000
  service.max_sessions_per_client = 64
  service.accept_rate = "200/s"
  service.message_rate = "1000/s"
  service.byte_rate = "1MiB/s"
  service.idle_timeout = "2m"
  service.first_message_timeout = "10s"
  service.output_limit = "64KiB"
  return service
end

return {
  workers = "auto",

  -- An SD card does not like small writes: one transaction a minute, at most, and none while nothing happens.
  store = { path = "portolan.db", flush_every = "60s", keep_minutes = "2d", keep_hours = "30d", keep = "365d" },
  admin = { http = "tcp://127.0.0.1:7080" },
  log = { level = "info" },
  script = { memory = "8MiB" },

  services = {
    with_limits {
      plugin = "echo",
      name = "echo",
      listen = { "tcp://0.0.0.0:7007", "udp://0.0.0.0:7007", "tls://0.0.0.0:7008" },
      -- Made anew at every start: clients cannot recognise it. For more than trying out, give it files:
      -- tls = { certificate = "/etc/portolan/fullchain.pem", key = "/etc/portolan/key.pem" },
      tls = { self_signed = true },
      mode = "lines",
      on_line = function(line, session)
        if line == "who" then return session.peer end
        return line:upper()
      end,
    },
    with_limits {
      plugin = "binary",
      name = "binary",
      listen = { "tcp://0.0.0.0:7009", "udp://0.0.0.0:7009", "tls://0.0.0.0:7010" },
      tls = { self_signed = true },
      max_frame = "16KiB",
    },
  },
}
