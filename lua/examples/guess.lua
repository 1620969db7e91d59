-- A game of lines: guess the number, in at most seven tries and half a minute for each.
--
--   portolan run -c guess.lua
--   nc 127.0.0.1 7022
local function play(session)
  local secret = 1 + string.unpack("I1", portolan.random(1)) * 100 // 256
  session:write("I think of a number from 1 to 100.\n")
  for try = 1, 7 do
    session:write("guess ", try, ": ")
    local line, why = session:read_line({ timeout = "30s", max = 20 })
    if not line then return session:write("\n", why == "timed out" and "Too slow.\n" or "") end
    local guess = tonumber(line)
    if not guess then session:write("That is no number.\n")
    elseif guess < secret then session:write("It is more.\n")
    elseif guess > secret then session:write("It is less.\n")
    else return session:write("Yes! In ", try, " tries.\n") end
  end
  session:write("It was ", secret, ".\n")
end

return {
  services = {
    { plugin = "script", name = "guess", listen = "tcp://127.0.0.1:7022", on_session = play },
  },
}
