-- A chat, and a bot that is a member like any other: it answers !time, !roll and !seen NAME, and remembers whom it has heard.
--
--   portolan run -c chat_bot.lua
--   nc 127.0.0.1 7029
local address = "tcp://127.0.0.1:7029"

local answers = {
  time = function() return "It is " .. portolan.date() end,
  roll = function() return "You have a " .. 1 + string.unpack("I1", portolan.random(1)) * 6 // 256 end,
  seen = function(name)
    local time = portolan.store.get("seen " .. name)
    return time and name .. " last spoke at " .. portolan.date(time) or "I have not heard " .. name
  end,
}

local function be_a_member()
  local chat <close> = assert(portolan.dial(address, { timeout = "5s" }))
  chat:timeout("1h")
  chat:write("robot\n")
  for line in chat:lines() do
    local name, text = line:match("^%[(%S+)%] (.+)$")
    local word, argument = (text or ""):match("^!(%a+) ?(%S*)$")
    local answer = answers[word]
    if answer then chat:write(answer(argument), "\n") end
    if name then portolan.store.put("seen " .. name, portolan.now(), { expires = "30d" }) end
  end
end

return {
  workers = 1,
  services = {
    { plugin = "chat", name = "lobby", listen = address },
    { plugin = "script", name = "bot",
      on_start = function()
        while true do
          local ok, why = pcall(be_a_member)
          if not ok then portolan.log("the bot comes back: " .. tostring(why)) end
          portolan.sleep("1s")
        end
      end },
  },
}
