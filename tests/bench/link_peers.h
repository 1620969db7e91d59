// What the link benches set side by side, and the commands of both its ends.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "link_run.h"
#include "options.h"
#include "process.h"

namespace portolan::bench {

enum class Sender { kNear, kFar };

// Commands with names in braces, which LinkPeers fills in: {send} the file, {into} the directory to receive it in,
// {host} and {port} of the far end, and where programs, keys and the rest are.
struct LinkPeer {
  std::string_view key;  // of kLinkPeerKeys
  std::string_view label;
  Sender sender;
  std::string_view near;
  std::string_view far;
  std::vector<std::string_view> programs;  // without which it cannot run
};

class LinkPeers {
 public:
  explicit LinkPeers(const Options& options);  // throws std::runtime_error without a place for files

  // Those that carry a file over the link, that hold a latency of messages, and that use a loopback.
  static const std::vector<LinkPeer>& of_files();
  static const std::vector<LinkPeer>& of_messages();
  static const std::vector<LinkPeer>& of_loopback();

  // Why it cannot run here; empty when it can.
  std::string unavailable(const LinkPeer& peer) const;
  LinkEnds ends(const LinkPeer& peer, const LinkConditions& conditions) const;
  std::string fill(std::string_view command, const LinkConditions& conditions) const;

  // A file of random bytes, the same in every run. Throws std::runtime_error when there is no room.
  void make_payload(double megabytes);
  double payload_bytes() const { return payload_bytes_; }
  // Makes the directory of what is received anew, and empty.
  void clear_received() const;
  // What has come so far, by the size of the largest file there.
  double received_bytes() const;
  // Whether it is the payload, byte for byte.
  bool received_is_payload() const;
  const std::string& received_directory() const { return into_; }
  std::string received_file() const { return into_ + "/payload"; }

  // Runs a pair; a near end that failed is a failure.
  Result<LinkFigures> run(const LinkEnds& ends, const LinkConditions& conditions) const;

 private:
  void make_keys() const;

  const Options& options_;
  TemporaryDirectory directory_;
  std::string into_;
  double payload_bytes_ = 0;
};

// What remains of a long bench, told on stderr, at the pace that it had so far.
class LinkProgress {
 public:
  LinkProgress(std::string bench, int runs) : bench_(std::move(bench)), runs_(runs) {}

  void begin(const std::string& what);
  void end(const std::string& result);

 private:
  std::string bench_;
  int runs_;
  int done_ = 0;
  Clock::time_point begin_ = Clock::now();
};

}  // namespace portolan::bench
