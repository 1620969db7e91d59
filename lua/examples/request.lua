-- A request/response protocol like HTTP's, and its client.
--
-- A request is a line "METHOD path", headers "Name: value", an empty line, and a body of Content-Length bytes. The answer is a
-- line "status reason", headers, an empty line and a body. The service `pages` serves it; `client` asks it, once for each
-- line "METHOD path [body]" that it is given.
--
--   portolan run -c request.lua
--   printf 'POST /notes hello\nGET /notes\nBREW /tea\n' | nc -N 127.0.0.1 7024
local pages = { ["/"] = "welcome\n" }
local most_body = 65536

local function write_message(stream, first, body)
  return stream:write(first, "\nContent-Length: ", #body, "\n\n", body)
end

-- What follows the first line. nil and the reason when it is malformed, or the peer has gone.
local function read_rest(stream)
  local headers = {}
  for _ = 1, 100 do
    local line, why = stream:read_line({ max = 4096 })
    if not line then return nil, why end
    if line == "" then
      local length = headers["content-length"]
      if not length or length == "0" then return headers, "" end
      if not length:match("^%d+$") or tonumber(length) > most_body then return nil, "bad Content-Length" end
      local body, failure = stream:read(tonumber(length))
      if not body then return nil, failure end
      return headers, body
    end
    local name, value = line:match("^([%w%-]+):%s*(.-)%s*$")
    if not name then return nil, "bad header" end
    headers[name:lower()] = value
  end
  return nil, "too many headers"
end

local methods = {
  GET = function(path)
    if pages[path] then return "200 OK", pages[path] end
    return "404 Not Found", "no page " .. path .. "\n"
  end,
  POST = function(path, body)
    pages[path] = body
    return "201 Created", "kept " .. #body .. " bytes\n"
  end,
}

local function serve(session)
  session:timeout("10s")
  for line in session:lines() do
    local method, path = line:match("^(%u+) (/%S*)$")
    if not method then return write_message(session, "400 Bad Request", "malformed request\n") end
    local headers, body = read_rest(session)
    if not headers then return write_message(session, "400 Bad Request", body .. "\n") end
    if methods[method] then
      write_message(session, methods[method](path, body))
    else
      write_message(session, "400 Bad Request", "unknown method " .. method .. "\n")
    end
  end
end

local function ask(address, method, path, body)
  local stream <close>, why = portolan.dial(address, { timeout = "3s" })
  if not stream then return nil, why end
  write_message(stream, method .. " " .. path, body)
  local first, failure = stream:read_line()
  if not first then return nil, failure end
  local headers, answer = read_rest(stream)
  if not headers then return nil, answer end
  return first, answer
end

return {
  workers = 1,
  services = {
    { plugin = "script", name = "pages", listen = "tcp://127.0.0.1:7023", max_message = "128KiB", on_session = serve },
    { plugin = "script", name = "client", listen = "tcp://127.0.0.1:7024",
      on_session = function(session)
        for line in session:lines() do
          local method, path, body = line:match("^(%S+) (%S+) ?(.*)$")
          local status, answer
          if method then status, answer = ask("tcp://127.0.0.1:7023", method, path, body) end
          session:write(status or "error", ": ", answer or "METHOD path [body]", answer and "" or "\n")
        end
      end },
  },
}
