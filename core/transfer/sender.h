// The sending side of a transfer, over one ordered stream. No network: bytes come in and go out; files are read here.
//
// Made for one connection and ended with it; what is settled stays in the SourceTree, so that the next connection's Sender
// goes on from there. Nothing costs a round trip for each file: entries go ahead, up to kMaxOpen without a result, and the
// data of one file follows that of another. One thread. A call does a bounded piece of work: it reads and hashes at most
// 1 MiB or so.
#pragma once

#include "plugin/descriptor.h"
#include "transfer/protocol.h"
#include "transfer/source_file.h"
#include "transfer/source_tree.h"

#include <deque>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

namespace portolan::transfer {

class SenderEvents {
 public:
  // The entry has its result; `text` is what the receiver, or this side, says about it.
  virtual void on_result(const SourceEntry& entry, std::string_view text) noexcept = 0;
  // Something that a person would want to know, about this file.
  virtual void on_note(const SourceEntry& entry, std::string_view text) noexcept = 0;

 protected:
  ~SenderEvents() = default;
};

// Of this connection, but for what is said to be of all.
struct SendState {
  std::uint64_t confirmed = 0;              // bytes of data that the receiver has written
  std::uint64_t kept = 0;                   // bytes of data that it had
  std::uint64_t sent = 0;                   // bytes of data handed to the stream
  Activity activity = Activity::receiving;  // of the receiver
  std::uint64_t signs_of_life = 0;          // messages that show progress: counts up
};

class Sender {
 public:
  Sender(SourceTree& tree, const TransferId& transfer, SenderEvents& events);

  // Bytes from the receiver; answers how many are done with, the rest comes again in front of what follows.
  std::size_t receive(std::span<const std::byte> bytes, Duration now);
  // Appends what is to be sent next, about 64 KiB at most. True: something was done, and there may be more to do at once.
  bool produce(std::vector<std::byte>& out, Duration now);
  // When produce is to be called again though nothing came from the receiver.
  Duration deadline() const noexcept;

  // All entries are settled and the receiver has said so.
  bool finished() const noexcept { return finished_; }
  // Why this connection is of no use any more: what the receiver refused, or how it broke the protocol. Empty: it is.
  const std::string& failure() const noexcept { return failure_; }
  bool refused() const noexcept { return refused_; }  // it is the receiver's word: trying again does not help
  const SendState& state() const noexcept { return state_; }

 private:
  struct Open {
    std::size_t index = 0;
    std::uint8_t rounds = 0;  // of checking
    std::uint64_t had = 0;    // by the receiver, of whatever version
  };
  struct Offset {
    std::uint32_t id = 0;
    std::uint64_t offset = 0;  // or length
  };
  // A file that is being read, with the hash of its first bytes.
  struct Reading {
    std::uint32_t id = 0;
    SourceFile file;
    FileHash hash;
  };

  bool handle(const Message& message, Duration now);
  void on(const Result& result, Duration now);
  void offer(std::size_t index, std::vector<std::byte>& out);
  void offer_entries(std::vector<std::byte>& out);
  bool check_step(std::vector<std::byte>& out, Duration now);
  bool send_step(std::vector<std::byte>& out, Duration now);
  bool send_piece(std::vector<std::byte>& out, Duration now);
  std::optional<Reading> open(std::uint32_t id, std::vector<std::byte>& out, Duration now);
  // Hashes up to `end`, a bounded piece; false: it cannot be read so far.
  bool hash_step(Reading& reading, std::uint64_t end);
  void forget_check(std::uint32_t id);
  // The finish that was sent is void.
  void ask_again() noexcept {
    ++asked_;
    finish_sent_ = false;
  }
  // The receiver has answered for a file, and wants it from `offset`. True: it was begun unasked, and goes on.
  bool answered(std::uint32_t id, std::optional<std::uint64_t> offset);
  void abandon(std::uint32_t id, std::string_view why, bool again, std::vector<std::byte>& out, Duration now);
  void settle(std::uint32_t id, Outcome outcome, std::string_view text);
  SourceEntry& entry_of(std::uint32_t id) { return tree_.entries[open_.at(id).index]; }
  bool fail(std::string_view why);

  SourceTree& tree_;
  const TransferId transfer_;
  SenderEvents& events_;
  SendState state_;
  std::size_t next_ = 0;  // entry to offer
  std::uint32_t next_id_ = 0;
  std::unordered_map<std::uint32_t, Open> open_;
  struct Later {
    Duration at{};
    std::size_t index = 0;
  };
  std::deque<Later> again_;    // to offer again, in order of time
  std::deque<Offset> checks_;  // whose digests are wanted
  std::deque<Offset> ready_;   // that may be sent
  std::optional<Reading> check_;
  std::vector<std::byte> digests_;
  std::uint64_t first_digest_ = 0;
  std::optional<Reading> checked_;  // the last one: what is sent next is usually this
  std::optional<Reading> current_;
  bool begun_ = false;  // Begin has been sent for it
  // Begun before the receiver has asked for it, as most files are new to it: so the link shows how fast it is a round trip
  // earlier. The first one of a connection.
  std::optional<std::uint32_t> unasked_;
  bool guessed_ = false;
  bool greeted_ = false;
  bool finish_sent_ = false;
  std::uint32_t asked_ = 0;  // as in Finish
  bool finished_ = false;
  bool refused_ = false;
  Duration last_out_{};
  std::string failure_;
};

}  // namespace portolan::transfer
