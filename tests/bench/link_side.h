// The programs at one end of a link. They run under a keeper, a process of its own that takes in whatever they leave
// behind, so that their CPU time is whole, and ends all of it when it is told to or when the emulator is gone.
#pragma once

#include <sys/resource.h>
#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "link_namespace.h"

namespace portolan::bench {

struct SideResult {
  int exit_code = 0;  // of the first command that failed; 128 and the signal for one that was killed
  double user_seconds = 0;
  double system_seconds = 0;
};

class LinkSide {
 public:
  // Every command goes to a shell of its own. Their output goes to stderr.
  static Result<LinkSide> start(const NetworkNamespace& network, const std::vector<std::string>& commands);
  LinkSide(LinkSide&& other) noexcept : keeper_(std::exchange(other.keeper_, -1)) {}
  LinkSide& operator=(LinkSide&&) = delete;
  ~LinkSide();

  // Not before all have ended. Blocks when told to wait.
  enum class Wait { kNo, kYes };
  std::optional<SideResult> ended(Wait wait = Wait::kNo);
  void stop();  // SIGTERM to all, and SIGKILL after kStopSeconds; ended() tells when it is done

  // How many ports are bound in its namespace, by sockets that wait for a peer.
  std::size_t listening_ports() const;

 private:
  explicit LinkSide(pid_t keeper) : keeper_(keeper) {}

  pid_t keeper_ = -1;
};

}  // namespace portolan::bench
