-- What `./dev run` serves: four small services to try, on this machine only.
--
--   portolan check config/default.lua     says what is wrong with it, if anything
--   portolan help configuration           the keys of this file
--   portolan help service                 the keys of every service
--   portolan help echo                    the options of a plugin
--   portolan reload                       takes changes without closing a session (so does SIGHUP)
--
-- Every listener is on the loopback address: nothing here is reachable from another machine. The file is Lua: it runs
-- once to be checked, in a sandbox with string, table, math and utf8, and returns one table.

return {
  -- Threads that serve. One is enough for most; "auto" takes one for each core.
  workers = 1,

  -- Statistics: one SQLite file in the state directory. Ask it while the daemon runs:
  --   sqlite3 portolan.db 'select * from service_minutes'
  store = {
    path = "portolan.db",
    flush_every = "10s",    -- what a power cut can lose
    keep_minutes = "2d",    -- then hours
    keep_hours = "30d",     -- then days
    keep = "90d",
  },

  -- Commands such as `portolan status` use a unix socket in the state directory. This adds /healthz, /readyz and
  -- /metrics (for Prometheus) over HTTP.
  admin = { http = "tcp://127.0.0.1:7080" },

  services = {
    -- Lines come back in capitals:  printf 'hello\nquit\n' | nc 127.0.0.1 7007
    {
      plugin = "echo",
      name = "echo",
      listen = {
        "tcp://127.0.0.1:7007",
        "udp://127.0.0.1:7007",
        "tls://127.0.0.1:7008",
        "unix://echo.sock",     -- a relative path belongs to the state directory
      },
      -- A certificate made at the start, for trying out. For real ones:
      --   tls = { certificate = "/etc/portolan/fullchain.pem", key = "/etc/portolan/key.pem" }
      tls = { self_signed = true },

      mode = "lines",           -- or "raw": bytes as they come
      transform = "upper",      -- or "none", or "prefix"
      max_line = "8KiB",

      -- Every service has limits. These are the defaults, but for the rates, which are off unless set.
      max_sessions = 10000,
      max_sessions_per_client = 1000,
      idle_timeout = "5m",
      first_message_timeout = "30s",
      -- accept_rate = "200/s", message_rate = "1000/s", byte_rate = "1MiB/s",
    },

    -- Frames: [length u32, big-endian][type u8][payload]. Type 1 comes back as it is, 2 reversed, 3 ends the session:
    --   echo 00000005 02 68656c6c6f  00000000 03 | xxd -r -p | nc 127.0.0.1 7009 | xxd
    {
      plugin = "binary",
      name = "binary",
      listen = { "tcp://127.0.0.1:7009", "udp://127.0.0.1:7009", "tls://127.0.0.1:7010", "unix://binary.sock" },
      tls = { self_signed = true },
      max_frame = "64KiB",
      unknown_type = "refuse",  -- or "ignore": count it and go on
    },

    -- The echo once more, through a relay, whose connections can be broken on purpose while they are open:
    --   portolan fault add relay latency latency=300ms      then  printf 'hello\nquit\n' | nc 127.0.0.1 7011
    {
      plugin = "relay",
      name = "relay",
      listen = "tcp://127.0.0.1:7011",
      backends = {
        { address = "tcp://127.0.0.1:7007", name = "plain" },
        { address = "tls://127.0.0.1:7008", name = "encrypted", tls = { verify = false } },  -- its certificate is its own
      },
      balance = "round_robin",  -- or random_two, least_sessions, hash, first
      -- health = { every = "5s" },
    },

    -- People in rooms. In two terminals:  nc 127.0.0.1 6000      a name, then lines; /help lists the commands
    {
      plugin = "chat",
      name = "lobby",
      listen = { "tcp://127.0.0.1:6000", "unix://lobby.sock" },
      on_message = function(user, text, room)
        if #text > 400 then return nil, "too long" end
        return text
      end,
    },
  },
}
