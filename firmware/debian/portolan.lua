-- The configuration of the portolan service. It is yours: an upgrade of the package does not replace what you changed.
--
--   portolan check /etc/portolan/portolan.lua     says everything that is wrong with it
--   systemctl reload portolan                     takes changes without closing a session, or says why not
--   portolan status, portolan stats               what is served, and what was counted (as root)
--   man portolan.lua                              every key; `portolan help echo`: the options of a plugin
--
-- More to begin with is in /usr/share/doc/portolan/examples. `user`, `group` and `state_dir` are the unit's affair:
-- the state is in /var/lib/portolan, the admin socket is /run/portolan/portolan.sock.

return {
  -- Statistics: /var/lib/portolan/portolan.db, to be asked with sqlite3 while the daemon runs.
  store = { flush_every = "10s", keep = "90d" },

  -- /healthz, /readyz and /metrics (for Prometheus) over HTTP:
  --   admin = { http = "tcp://127.0.0.1:7080" },

  -- Plugins of others, as shared objects:
  --   plugin_path = "/usr/lib/portolan/plugins",

  services = {
    -- Something to try, on the loopback address only:  printf 'hello\nquit\n' | nc 127.0.0.1 7007
    {
      plugin = "echo",
      name = "echo",
      listen = { "tcp://127.0.0.1:7007", "udp://127.0.0.1:7007" },
      mode = "lines",
      transform = "upper",
    },
  },
}
