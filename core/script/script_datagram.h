// A datagram in the hands of scripts, and the way back to its sender.
//
// The object in Lua outlives the datagram: as long as the session of the peer does, it can be answered. One worker's thread.
#pragma once

#include "plugin/service.h"

#include <memory>

struct lua_State;

namespace portolan {

// For the time of Service::on_datagram, and beyond it for a task that still runs.
class ScriptDatagram {
 public:
  explicit ScriptDatagram(DatagramPeer& peer) noexcept : peer_(peer) {}
  ~ScriptDatagram();
  ScriptDatagram(const ScriptDatagram&) = delete;
  ScriptDatagram& operator=(const ScriptDatagram&) = delete;

  void push(lua_State* state, std::span<const std::byte> data);  // raises
  // The task is not over: the peer is kept for it.
  void keep() noexcept;
  static void open_metatable(lua_State* state);

  // The way back, shared by all objects of one peer.
  struct Way {
    DatagramPeer* peer;  // null once its session has ended
  };

 private:
  DatagramPeer& peer_;
  std::shared_ptr<Way> way_;
};

}  // namespace portolan
