-- Watches services of others: connects to each every few seconds, and says in the log and to whoever asks what changed.
--
--   portolan run -c watch.lua
--   nc 127.0.0.1 7027
local targets = { "tcp://127.0.0.1:7028", "tcp://127.0.0.1:9" }
local every = "2s"
local up = {}

local function look(target)
  local stream <close>, why = portolan.dial(target, { timeout = "1s" })
  local state = stream and "up" or "down: " .. why
  if up[target] ~= state then
    portolan.log(target .. " is " .. state)
    up[target] = state
  end
end

return {
  workers = 1,
  services = {
    { plugin = "script", name = "watch", listen = "tcp://127.0.0.1:7027",
      on_start = function()
        for _, target in ipairs(targets) do
          look(target)
          portolan.every(every, function() look(target) end)
        end
      end,
      on_session = function(session)
        for _, target in ipairs(targets) do session:write(target, " ", up[target] or "not seen yet", "\n") end
      end },
    { plugin = "echo", name = "watched", listen = "tcp://127.0.0.1:7028" },
  },
}
