// A small HTTP/1.1 server on one listening socket (TCP or unix), for the admin API: libevent's evhttp behind values.
//
// Belongs to the thread of its loop. It refuses more than 8 KiB of header, more than 16 KiB of body, a peer that says
// nothing for 10 seconds, and one that takes longer than HttpLimits in all, our own time for the answer aside. With as
// many connections as there may be, further ones wait in the kernel's queue; when the process has no descriptor left
// it stops accepting for a moment.
#pragma once

#include "event/loop.h"

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>

namespace portolan {

struct HttpRequest {
  std::string method;  // "GET"
  std::string path;    // "/sessions", decoded
  std::map<std::string, std::string> query;
};

// Where the answer goes: copyable, may be kept and answered later, also when the peer or the server is gone by then
// (the answer is dropped). The first answer counts; when the last copy goes without one, the peer gets a 500.
// Answer it on the loop's thread; only letting go of an answered one may happen elsewhere.
class HttpReply {
 public:
  void send(int status, std::string_view content_type, std::string_view body) const;

 private:
  friend class HttpServer;
  class State;
  explicit HttpReply(std::shared_ptr<State> state) : state_(std::move(state)) {}
  std::shared_ptr<State> state_;
};

struct HttpLimits {
  std::size_t connections = 64;
  Duration connection_time = std::chrono::seconds(30);
};

class HttpServer {
 public:
  using Handler = std::function<void(const HttpRequest&, HttpReply)>;
  // `listening` stays the caller's. Throws when it is no socket that can be accepted from (while starting up).
  HttpServer(Loop& loop, int listening, Handler handler, HttpLimits limits = {});
  ~HttpServer();  // what is not answered yet gets a 503
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

 private:
  friend class HttpReply;
  class Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace portolan
