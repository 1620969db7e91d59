// A small HTTP/1.1 server on one listening socket (TCP or unix), for the admin API: libevent's evhttp behind values.
//
// Belongs to the thread of its loop. It refuses more than 8 KiB of header, more than HttpLimits of body, a peer that says
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
  std::string body;
};

// An answer that comes piece by piece until it is ended, or the last copy goes. The loop's thread; what is written when the
// peer or the server has gone is dropped.
class HttpStream {
 public:
  void write(std::string_view piece) const;
  void end() const;
  // Bytes that the peer has not taken yet. Nothing here bounds them: look before writing much.
  std::size_t unsent() const;

 private:
  friend class HttpReply;
  friend class HttpServer;
  class State;
  explicit HttpStream(std::shared_ptr<State> state) : state_(std::move(state)) {}
  std::shared_ptr<State> state_;
};

// Where the answer goes: copyable, may be kept and answered later, also when the peer or the server is gone by then
// (the answer is dropped). The first answer counts; when the last copy goes without one, the peer gets a 500.
// Answer it on the loop's thread; only letting go of an answered one may happen elsewhere.
class HttpReply {
 public:
  void send(int status, std::string_view content_type, std::string_view body) const;
  // Begins an answer without a length: it takes as long as it takes, and keeps its place among the connections. `gone` is
  // called when the peer closes before the end, also only its own direction; never from inside a call of the stream.
  HttpStream begin(int status, std::string_view content_type, std::function<void()> gone) const;

 private:
  friend class HttpServer;
  class State;
  explicit HttpReply(std::shared_ptr<State> state) : state_(std::move(state)) {}
  std::shared_ptr<State> state_;
};

struct HttpLimits {
  std::size_t connections = 64;
  Duration connection_time = std::chrono::seconds(30);
  std::size_t body = 16 * 1024;  // of a request
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
  friend class HttpStream;
  class Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace portolan
