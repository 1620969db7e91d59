// Takes an operator's commands to the running services: checks them against what the plugin declares before anything is
// posted, carries out core's own (drain, undrain), and gives the others to the plugin's instances on all workers.
//
// Owned and called by the daemon, on the main thread; answers there, later. What has changed something is an event of the
// store and a line in the log. Refused: whatever does not fit its declaration, and a service that does not serve.
#pragma once

#include "app/ask_workers.h"
#include "app/generation.h"

namespace portolan {

class CommandDesk {
 public:
  using Done = std::function<void(CommandReply)>;
  // Both outlive it. `recorder` comes before the first command.
  CommandDesk(const Workers& workers, std::shared_ptr<Mailbox> mailbox)
      : workers_(workers), mailbox_(std::move(mailbox)) {}
  void record_with(Recorder& recorder) noexcept { recorder_ = &recorder; }

  void give(const Generation& generation, OperatorCommand command, Done done);

 private:
  void drain(std::shared_ptr<ServiceShared> service, const OperatorCommand& command, Done done);
  void record(const OperatorCommand& command);

  const Workers& workers_;
  const std::shared_ptr<Mailbox> mailbox_;
  Recorder* recorder_ = nullptr;
};

}  // namespace portolan
