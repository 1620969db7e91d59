-- A developer's bench: servers that behave as their few lines of Lua say, to point a client at.
--
-- Loopback only. Copy it and change it: `./dev run -c my.lua`, then `portolan reload` after each change.

-- Anything above `return` runs once on each worker when the configuration is read. A variable here lives until the
-- next reload, and each worker has its own: with workers = 1 there is only one.
local lines = 0  -- that "who" has answered

-- "1 + 2", "7 * 6": a calculator of one operator.
local function calculate(line)
  local left, operator, right = line:match("^%s*(-?[%d.]+)%s*([-+*/])%s*(-?[%d.]+)%s*$")
  left, right = tonumber(left), tonumber(right)
  if not left or not right then return nil, "expected NUMBER + NUMBER, with one of + - * /" end
  if operator == "+" then return tostring(left + right) end
  if operator == "-" then return tostring(left - right) end
  if operator == "*" then return tostring(left * right) end
  if right == 0 then return nil, "division by zero" end
  return tostring(left / right)
end

return {
  workers = 1,
  store = { path = "portolan.db", flush_every = "1s", keep = "7d", keep_hours = "7d" },  -- what happened is there at once
  admin = { http = "tcp://127.0.0.1:7080" },
  log = { level = "debug" },

  services = {
    -- Bytes come back as they are: for throughput, for half-closed connections, for clients that never read.
    { plugin = "echo", name = "raw", listen = { "tcp://127.0.0.1:7100", "udp://127.0.0.1:7100", "unix://raw.sock" } },

    -- Who sent what, and how many lines that makes.
    {
      plugin = "echo",
      name = "who",
      listen = { "tcp://127.0.0.1:7101", "udp://127.0.0.1:7101" },
      mode = "lines",
      on_line = function(line, session)
        lines = lines + 1
        return ("line %d: session %d, %s over %s, sent %q"):format(lines, session.id, session.peer, session.transport, line)
      end,
    },

    -- printf '6 * 7\nquit\n' | nc 127.0.0.1 7102
    { plugin = "echo", name = "calculator", listen = "tcp://127.0.0.1:7102", mode = "lines", on_line = calculate },

    -- A server that is hard to please: does your client wait, retry, and say what was wrong?
    {
      plugin = "echo",
      name = "strict",
      listen = { "tcp://127.0.0.1:7103", "tls://127.0.0.1:7104" },
      tls = { self_signed = true, min_version = "1.3" },
      mode = "lines",
      transform = "prefix",
      prefix = "ok ",
      max_line = 80,
      max_sessions = 4,
      max_sessions_per_client = 2,
      accept_rate = "2/s",
      message_rate = "5/s",
      idle_timeout = "10s",
      first_message_timeout = "3s",
    },

    -- Frames with two types of its own: 10 answers the length of the payload, 11 its bytes in hexadecimal (as type 12).
    {
      plugin = "binary",
      name = "frames",
      listen = { "tcp://127.0.0.1:7105", "udp://127.0.0.1:7105" },
      max_frame = "1MiB",
      unknown_type = "ignore",
      on_frame = function(type, payload)
        if type == 10 then return tostring(#payload) end
        if type == 11 then
          return (payload:gsub(".", function(byte) return ("%02x"):format(byte:byte()) end)), 12
        end
        return nil, "no such type"
      end,
    },

    -- The plain form, [length u32][payload], for clients that know nothing of types.
    { plugin = "binary", name = "plain", listen = "tcp://127.0.0.1:7106", mode = "plain" },

    -- The first service as a bad link would have it: how does your client bear it? `portolan fault` changes it while it runs.
    {
      plugin = "relay",
      name = "bad-link",
      listen = "tcp://127.0.0.1:7107",
      backends = "tcp://127.0.0.1:7100",
      faults = {
        { kind = "latency", latency = "150ms", jitter = "50ms" },
        { kind = "bandwidth", rate = "64KiB/s", direction = "to_client" },
        { kind = "reset", after_bytes = "1MiB", probability = 0.1 },
      },
    },
    { plugin = "relay", name = "bad-datagrams", listen = "udp://127.0.0.1:7107", backends = "udp://127.0.0.1:7100",
      faults = { { kind = "loss", probability = 0.05 }, { kind = "reorder", gap = 2, probability = 0.02 } } },
  },
}
