-- A request/response protocol of protobuf messages, each behind a length of four bytes, and its client.
--
-- The service `stock` counts what is in a store. `clerk` asks it, once for each line "ARTICLE [±COUNT]" that it is given.
--
--   portolan run -c stock.lua
--   printf 'tea +5\ntea -2\ntea\ntea -9\n' | nc -N 127.0.0.1 7032
local schema = portolan.protobuf.load([[
  syntax = "proto3";
  package stock;

  message Request {
    uint32 id = 1;
    oneof what {
      Change change = 2;
      string count_of = 3;
    }
  }
  message Change {
    string article = 1;
    sint32 by = 2;
  }
  message Response {
    uint32 id = 1;
    Status status = 2;
    Article article = 3;
    string problem = 4;
  }
  message Article {
    string name = 1;
    uint32 count = 2;
  }
  enum Status {
    OK = 0;
    MALFORMED = 1;
    TOO_FEW = 2;
  }
]])

local counts = {}

-- What a request is answered with, but for its id.
local function answer(request)
  local change = request.change or { article = request.count_of, by = 0 }
  if not change.article then return { status = "MALFORMED", problem = "expected a change, or a count" } end
  local count = (counts[change.article] or 0) + (change.by or 0)
  if count < 0 then return { status = "TOO_FEW", problem = "there are " .. (counts[change.article] or 0) } end
  counts[change.article] = count
  return { article = { name = change.article, count = count } }
end

local function serve(session)
  while true do
    local frame = session:read_frame({ max = 4096, timeout = "1m" })
    if not frame then return end
    local request, why = schema:decode("stock.Request", frame)
    local response = request and answer(request) or { status = "MALFORMED", problem = why }
    response.id = request and request.id
    session:write_frame(assert(schema:encode("stock.Response", response)))
    if not request then return end
  end
end

local function ask(stream, request)
  local sent, why = stream:write_frame(assert(schema:encode("stock.Request", request)))
  if not sent then return nil, why end
  local frame, failure = stream:read_frame({ max = 4096, timeout = "5s" })
  if not frame then return nil, failure end
  return schema:decode("stock.Response", frame, { defaults = true })
end

return {
  workers = 1,
  services = {
    { plugin = "script", name = "stock", listen = "tcp://127.0.0.1:7031", on_session = serve },
    { plugin = "script", name = "clerk", listen = "tcp://127.0.0.1:7032",
      on_session = function(session)
        local stream <close>, failure = portolan.dial("tcp://127.0.0.1:7031", { timeout = "3s" })
        if not stream then return session:write("error: ", failure, "\n") end
        local id = 0
        for line in session:lines() do
          id = id + 1
          local article, by = line:match("^(%w+) ?([+-]?%d*)$")
          local request = { id = id, count_of = article }
          if article and by ~= "" then request = { id = id, change = { article = article, by = tonumber(by) } } end
          local response, why = ask(stream, request)
          if not response then return session:write("error: ", why, "\n") end
          if response.status == "OK" then session:write(response.article.name, ": ", response.article.count, "\n")
          else session:write(response.status, ": ", response.problem, "\n") end
        end
      end },
  },
}
