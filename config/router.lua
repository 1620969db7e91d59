-- For a router: little memory, flash that wears out, and a LAN full of devices nobody looks after.
--
-- Listens on all addresses, so that it serves the LAN whatever its address is: keep these ports closed towards the WAN
-- in the firewall, or write the router's own address (tcp://192.168.1.1:7007). Start it as root: it binds, then becomes
-- `user`.

return {
  -- Without it, it stays who it is. The user has to exist.
  -- user = "portolan",
  workers = 1,

  -- Every flush that has something to write costs about 18 kB of flash, an idle minute nothing. Every 30 s is
  -- at most about 50 MB a day. History survives a reboot only when state_dir is on flash, not in RAM.
  -- state_dir = "/etc/portolan",
  store = {
    path = "portolan.db",
    flush_every = "30s",
    keep_minutes = "1d",
    keep_hours = "14d",
    keep = "60d",
    session_records = 20,
    event_records = 20,
  },
  admin = { http = "tcp://127.0.0.1:7080" },
  log = { level = "warning" },
  script = { memory = "2MiB", instructions = 200000 },
  max_descriptors = 1024,
  drain_timeout = "10s",

  services = {
    {
      plugin = "echo",
      name = "echo",
      listen = "tcp://0.0.0.0:7007",  -- no UDP: an echo answers whoever a forged sender names
      mode = "lines",
      transform = "none",
      max_line = "1KiB",
      max_sessions = 200,
      max_sessions_per_client = 8,
      accept_rate = "50/s",
      message_rate = "100/s",
      byte_rate = "256KiB/s",
      idle_timeout = "1m",
      first_message_timeout = "10s",
      output_limit = "16KiB",
      backlog = 64,
    },
    {
      plugin = "binary",
      name = "binary",
      listen = "tcp://0.0.0.0:7009",
      max_frame = "4KiB",
      max_sessions = 200,
      max_sessions_per_client = 8,
      accept_rate = "50/s",
      message_rate = "100/s",
      byte_rate = "256KiB/s",
      idle_timeout = "1m",
      first_message_timeout = "10s",
      output_limit = "16KiB",
      backlog = 64,
    },
  },
}
