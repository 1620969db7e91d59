#include "app/console_desk.h"

#include "base/log.h"
#include "config/nearest.h"
#include "script/pretty.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <utility>

namespace portolan {

namespace {

constexpr const char* kCancelled = "cancelled";
constexpr const char* kStops = "the daemon is stopping";
constexpr const char* kNoSession = "there is no such session: it has ended";

std::unexpected<ConsoleRefusal> refused(int status, std::string why) {
  return std::unexpected(ConsoleRefusal{status, std::move(why)});
}

// The first service that has functions; empty: none has.
std::string usual_service(const Configuration& configuration) {
  for (const ServiceConfiguration& service : configuration.services)
    for (const HookDeclaration& hook : service.plugin->hooks)
      if (service.options->has_hook(hook.name)) return service.name;
  return {};
}

std::string cell_of(const StoreValue& value) {
  if (const auto* integer = std::get_if<std::int64_t>(&value)) return fmt::to_string(*integer);
  if (const auto* number = std::get_if<double>(&value)) return fmt::format("{}", *number);
  if (const auto* text = std::get_if<std::string>(&value)) return cell_text(*text);
  return {};
}

// As pretty_rows does it.
std::string rows_of(const StoreAnswer& answer) {
  std::string text;
  for (std::size_t column = 0; column < answer.columns.size(); ++column) {
    bool numbers = answer.rows() > 0;
    for (std::size_t row = 0; row < answer.rows() && numbers; ++row)
      numbers = !std::holds_alternative<std::string>(answer.at(row, column));
    text += fmt::format("{}{}{}", column == 0 ? "" : "\t", numbers ? ">" : "", cell_text(answer.columns[column]));
  }
  for (std::size_t row = 0; row < answer.rows(); ++row) {
    for (std::size_t column = 0; column < answer.columns.size(); ++column)
      text += (column == 0 ? "\n" : "\t") + cell_of(answer.at(row, column));
  }
  return text;
}

std::string json_of(const StoreAnswer& answer) {
  auto rows = nlohmann::ordered_json::array();
  for (std::size_t row = 0; row < answer.rows(); ++row) {
    auto object = nlohmann::ordered_json::object();
    for (std::size_t column = 0; column < answer.columns.size(); ++column) {
      std::visit(
          [&](const auto& value) {
            if constexpr (std::is_same_v<std::decay_t<decltype(value)>, std::monostate>)
              object[answer.columns[column]] = nullptr;
            else
              object[answer.columns[column]] = value;
          },
          answer.at(row, column));
    }
    rows.push_back(std::move(object));
  }
  return rows.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

}  // namespace

// ---- Sessions ----------------------------------------------------------------------------------------------------

std::expected<std::uint64_t, ConsoleRefusal> ConsoleDesk::open(ConsoleWish wish) {
  const Generation* generation = serving_();
  if (!generation) return refused(409, "the daemon is starting or stopping: ask again when it is ready");
  const Configuration& configuration = generation->configuration;
  if (!configuration.admin_console)
    return refused(403, "the console is switched off: the configuration says admin.console = false");
  if (wish.worker >= workers_.size())
    return refused(
        404, fmt::format("there is no worker {}: they are numbered from 0 to {}", wish.worker, workers_.size() - 1));
  if (!wish.service.empty()) {
    std::vector<std::string_view> names;
    for (const ServiceConfiguration& service : configuration.services) names.push_back(service.name);
    if (std::ranges::find(names, wish.service) == names.end())
      return refused(404, fmt::format("no service is called \"{}\"{}", wish.service,
                                      suggestion(wish.service, names, "the services")));
  }
  if (sessions_.size() >= kMostSessions)
    return refused(409, fmt::format("{} consoles are open already: close one", sessions_.size()));
  sessions_[++last_].wish = std::move(wish);
  return last_;
}

void ConsoleDesk::begin(std::uint64_t id, std::unique_ptr<ConsoleOutput> output) {
  const auto found = sessions_.find(id);
  if (found == sessions_.end()) return output->end();
  Session& session = found->second;
  session.output = std::move(output);
  const Generation* generation = serving_();
  const std::string service =
      session.wish.service.empty() && generation ? usual_service(generation->configuration) : session.wish.service;
  session.generation = generation ? generation->number : 0;
  const nlohmann::ordered_json facts{
      {"session", id}, {"worker", session.wish.worker}, {"service", service}, {"generation", session.generation}};
  session.output->event(ConsoleEvent::session, facts.dump());
  // Whoever looks later finds who could have run what, if not what it was.
  log::print(LogLevel::info, {service}, "a console was opened on worker {}", session.wish.worker);
  recorder_->event("console", service, fmt::format("opened on worker {}", session.wish.worker));
}

void ConsoleDesk::close(std::uint64_t id) {
  const auto found = sessions_.find(id);
  if (found == sessions_.end()) return;
  const Session session = std::move(found->second);
  sessions_.erase(found);
  if (session.question) store_->cancel(session.question);
  at_worker(session, [id](WorkerConsole& console) { console.forget(id); });
}

void ConsoleDesk::end(std::string_view reason) {
  while (!sessions_.empty()) {
    const auto first = sessions_.begin();
    if (first->second.output) {
      first->second.output->event(ConsoleEvent::error, reason);
      first->second.output->event(ConsoleEvent::done, {});
      first->second.output->end();
    }
    close(first->first);
  }
}

// ---- Lines -------------------------------------------------------------------------------------------------------

std::expected<ConsoleDesk::Session*, ConsoleRefusal> ConsoleDesk::ready(std::uint64_t id) {
  const auto found = sessions_.find(id);
  if (found == sessions_.end() || !found->second.output) return refused(404, kNoSession);
  Session& session = found->second;
  if (session.busy) return refused(409, "the last line is not answered yet: wait, or cancel it");
  if (session.output->unsent() > kMostUnsent) return refused(409, "read first what was answered so far");
  const auto evaluations = std::ranges::count_if(sessions_, [](const auto& one) { return one.second.busy; });
  if (static_cast<std::size_t>(evaluations) >= kMostEvaluations)
    return refused(409, fmt::format("{} lines of others are evaluated now: try again", evaluations));
  return &session;
}

std::expected<WorkerConsole::Place, ConsoleRefusal> ConsoleDesk::place_of(std::uint64_t id, const Session& session) {
  const Generation* generation = serving_();
  if (!generation) return refused(409, kStops);
  const auto& services = generation->configuration.services;
  WorkerConsole::Place place{.session = id, .service = session.wish.service, .style = session.wish.style, .tell = {}};
  if (place.service.empty()) {
    place.service = usual_service(generation->configuration);
  } else if (std::ranges::find(services, place.service, &ServiceConfiguration::name) == services.end()) {
    return refused(
        404, fmt::format("service \"{}\" is no more: generation {} has no such", place.service, generation->number));
  }
  place.tell = [this, mailbox = mailbox_, id](ConsoleEvent event, std::string text) {
    mailbox->post([this, id, event, text = std::move(text)] { tell(id, event, text); });
  };
  return place;
}

ConsoleHost::Done ConsoleDesk::line(std::uint64_t id, std::string text, Duration time_limit) {
  const auto found = ready(id);
  if (!found) return std::unexpected(found.error());
  Session& session = **found;
  auto place = place_of(id, session);
  if (!place) return std::unexpected(place.error());
  if (const std::uint64_t number = serving_()->number; number != std::exchange(session.generation, number)) {
    session.output->event(
        ConsoleEvent::notice,
        fmt::format("generation {} serves now: lines go there, and what this console kept in variables is gone",
                    number));
  }
  session.busy = true;
  log::print(LogLevel::debug, {place->service}, "console: {}", text);
  at_worker(
      session,
      [place = *place, text = std::move(text), time_limit](WorkerConsole& console) {
        console.evaluate(place, text, time_limit);
      },
      [tell = place->tell] {
        tell(ConsoleEvent::error, kStops);
        tell(ConsoleEvent::done, {});
      });
  return {};
}

// On the main thread again.
void ConsoleDesk::tell(std::uint64_t id, ConsoleEvent event, const std::string& text) {
  const auto found = sessions_.find(id);
  if (found == sessions_.end()) return;
  Session& session = found->second;
  if (event == ConsoleEvent::done) session.busy = false;
  session.output->event(event, text);
}

ConsoleHost::Done ConsoleDesk::cancel(std::uint64_t id) {
  const auto found = sessions_.find(id);
  if (found == sessions_.end()) return refused(404, kNoSession);
  if (found->second.question)
    store_->cancel(found->second.question);
  else
    at_worker(found->second, [id](WorkerConsole& console) { console.cancel(id, kCancelled); });
  return {};
}

ConsoleHost::Done ConsoleDesk::complete(std::uint64_t id, std::string path,
                                        std::function<void(std::vector<std::string> words)> done) {
  const auto found = sessions_.find(id);
  if (found == sessions_.end()) return refused(404, kNoSession);
  auto place = place_of(id, found->second);
  if (!place) return std::unexpected(place.error());
  auto answered = [mailbox = mailbox_, done = std::move(done)](std::vector<std::string> words) {
    mailbox->post([done, words = std::move(words)] { done(words); });
  };
  at_worker(
      found->second,
      [place = *place, path = std::move(path), answered](WorkerConsole& console) {
        answered(console.complete(place, path));
      },
      [answered] { answered({}); });
  return {};
}

void ConsoleDesk::at_worker(const Session& session, std::function<void(WorkerConsole& console)> task,
                            std::function<void()> none) const {
  workers_[session.wish.worker]->at_console(std::move(task), std::move(none));
}

// ---- SQL ---------------------------------------------------------------------------------------------------------

ConsoleHost::Done ConsoleDesk::sql(std::uint64_t id, std::string text, Duration time_limit) {
  const auto found = ready(id);
  if (!found) return std::unexpected(found.error());
  Session& session = **found;
  StoreQuestion question{.sql = std::move(text), .parameters = {}, .limits = {}};
  question.limits.bytes = ConsoleSession::kMostAnswer;
  question.limits.time = time_limit;
  const auto asked = store_->ask(
      std::move(question), [this, mailbox = mailbox_, id](std::expected<StoreAnswer, std::string> found_answer) {
        mailbox->post([this, id, found_answer = std::move(found_answer)] { answer(id, found_answer); });
      });
  if (!asked) return refused(409, asked.error());
  session.busy = true;
  session.question = *asked;
  return {};
}

void ConsoleDesk::answer(std::uint64_t id, const std::expected<StoreAnswer, std::string>& answer) {
  const auto found = sessions_.find(id);
  if (found == sessions_.end()) return;
  Session& session = found->second;
  session.question = 0;
  session.busy = false;
  if (!answer) {
    session.output->event(ConsoleEvent::error, answer.error());
  } else if (session.wish.style == ConsoleStyle::json) {
    session.output->event(ConsoleEvent::value, json_of(*answer));
  } else {
    session.output->event(ConsoleEvent::rows, rows_of(*answer));
  }
  if (answer && answer->truncated)
    session.output->event(ConsoleEvent::notice, "there is more: these are the rows that an answer has room for");
  session.output->event(ConsoleEvent::done, {});
}

}  // namespace portolan
