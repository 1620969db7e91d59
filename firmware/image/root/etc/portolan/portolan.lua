-- What the image serves until a file of yours is there: portolan.lua on the boot partition, or /data/portolan.lua. A copy
-- of this one is a good start.
--
-- Listens on all addresses: the device has no other purpose. An echo over UDP answers whoever a packet names as its
-- sender, hence the low rates; leave udp:// away where strangers can reach it.

local function with_limits(service)
  service.max_sessions = 200
  service.max_sessions_per_client = 32
  service.accept_rate = "50/s"
  service.message_rate = "200/s"
  service.byte_rate = "256KiB/s"
  service.idle_timeout = "1m"
  service.first_message_timeout = "10s"
  service.output_limit = "16KiB"
  service.backlog = 64
  -- Made at every start: clients cannot recognise it. For more than trying out, put files on the boot partition:
  -- tls = { certificate = "/boot/certificate.pem", key = "/boot/key.pem" }
  service.tls = { self_signed = true }
  return service
end

return {
  workers = 1,

  -- Flash wears out by being written. An interval in which something happened costs so much flash once, however much
  -- happened; one in which nothing did, nothing. A power cut loses what was counted since the last write; a restart
  -- in order, nothing. `portolan stats` has it written first.
  store = {
    flush_every = "5m",
    keep_minutes = "6h",
    keep_hours = "14d",
    keep = "90d",
    session_records = 20,  -- of an interval; the others are only counted
    event_records = 20,
  },
  log = { level = "warning" },
  script = { memory = "4MiB", instructions = 200000 },
  max_descriptors = 1024,
  drain_timeout = "5s",

  services = {
    with_limits {
      plugin = "echo",
      name = "echo",
      listen = { "tcp://0.0.0.0:7007", "udp://0.0.0.0:7007", "tls://0.0.0.0:7008" },
      mode = "lines",
      transform = "none",
      max_line = "1KiB",
    },
    with_limits {
      plugin = "binary",
      name = "binary",
      listen = { "tcp://0.0.0.0:7009", "udp://0.0.0.0:7009", "tls://0.0.0.0:7010" },
      max_frame = "4KiB",
    },
  },
}
