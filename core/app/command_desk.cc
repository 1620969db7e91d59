#include "command_desk.h"

#include "base/log.h"

#include <fmt/format.h>

#include <algorithm>

namespace portolan {

namespace {

using Outcome = CommandReply::Outcome;

}  // namespace

void CommandDesk::give(const Generation& generation, OperatorCommand command, Done done) {
  const auto& services = generation.configuration.services;
  const auto found = std::ranges::find(services, command.service, &ServiceConfiguration::name);
  if (found == services.end())
    return done({Outcome::unknown, fmt::format("no service is called \"{}\"", command.service)});
  const auto index = static_cast<std::size_t>(found - services.begin());
  const auto chosen = choose_command(command, *found->plugin);
  if (!chosen) return done(chosen.error());
  if (const std::string& error = generation.errors[index]; !error.empty())
    return done({Outcome::refused, fmt::format("service \"{}\" does not serve: {}", command.service, error)});
  if (chosen->of_core) return drain(generation.shared[index], command, std::move(done));

  auto first = std::make_shared<std::optional<CommandReply>>();
  ask_workers(
      workers_, mailbox_,
      [&](Worker& worker, std::function<void()> answered) {
        const bool shown = &worker == workers_.front().get();
        worker.command(generation.shared[index], command,
                       [mailbox = mailbox_, first, shown, answered](std::optional<CommandReply> reply) {
                         if (shown) mailbox->post([first, reply = std::move(reply)] { *first = reply; });
                         answered();
                       });
      },
      [this, first, command, question = chosen->declaration->question, done = std::move(done)] {
        if (!*first)
          return done({Outcome::refused, fmt::format("service \"{}\" has ended: the daemon stops", command.service)});
        if ((*first)->outcome == Outcome::done && !question) record(command);
        done(**first);
      });
}

void CommandDesk::drain(std::shared_ptr<ServiceShared> service, const OperatorCommand& command, Done done) {
  const bool drains = command.name == "drain";
  // Before the workers look at their sessions: after that look none is admitted any more.
  const bool changed = service->drained.exchange(drains, std::memory_order_relaxed) != drains;
  if (changed) record(command);
  ask_workers(
      workers_, mailbox_,
      [&](Worker& worker, std::function<void()> answered) {
        worker.end_quiet(service, drains ? kQuiet : Duration::zero(), std::move(answered));
      },
      [service, drains, changed, done = std::move(done)] {
        done({Outcome::done, fmt::format(R"({{"drained":{},"changed":{},"sessions":{}}})", drains, changed,
                                         service->open.load(std::memory_order_relaxed))});
      });
}

void CommandDesk::record(const OperatorCommand& command) {
  const std::string text = command.text();
  log::print(LogLevel::info, {command.service}, "command: {}", text);
  recorder_->event("command", command.service, text);
}

}  // namespace portolan
