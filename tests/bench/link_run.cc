#include "link_run.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <fstream>
#include <nlohmann/json.hpp>

namespace portolan::bench {
namespace {

using nlohmann::json;

std::vector<std::string> arguments_of(const std::string& program, const LinkConditions& conditions,
                                      const LinkEnds& ends) {
  std::vector<std::string> all{program,
                               "--rate",
                               fmt::format("{:.6f}Mbit", conditions.megabits_per_second),
                               "--queue",
                               fmt::format("{:.6f}ms", conditions.queue_ms),
                               "--delay",
                               fmt::format("{:.6f}ms", conditions.rtt_ms / 2),
                               "--loss",
                               fmt::format("{:.6f}%", conditions.loss_percent),
                               "--seed",
                               fmt::format("{}", conditions.seed),
                               "--time-limit",
                               fmt::format("{:.6f}s", conditions.limit_seconds)};
  if (conditions.loopback) all.emplace_back("--loopback");
  for (const std::string& command : ends.far) all.insert(all.end(), {"--far", command});
  for (const std::string& command : ends.near) all.insert(all.end(), {"--near", command});
  return all;
}

[[noreturn]] void become(const std::vector<std::string>& arguments, int output, int errors) {
  ::prctl(PR_SET_PDEATHSIG, SIGTERM);
  ::dup2(output, STDOUT_FILENO);
  ::dup2(errors, STDERR_FILENO);
  std::vector<char*> pointers;
  for (const std::string& argument : arguments) pointers.push_back(const_cast<char*>(argument.c_str()));
  pointers.push_back(nullptr);
  ::execv(pointers.front(), pointers.data());
  ::_exit(127);
}

// All that it prints, until it ends; it is told to when this program is.
std::string read_to_end(pid_t pid, const Descriptor& from) {
  std::string text;
  bool told = false;
  for (;;) {
    if (interrupted() && !told) {
      ::kill(pid, SIGTERM);
      told = true;
    }
    pollfd readable{from.get(), POLLIN, 0};
    if (::poll(&readable, 1, 100) <= 0) continue;
    std::array<char, 65536> chunk;
    const ssize_t got = ::read(from.get(), chunk.data(), chunk.size());
    if (got <= 0) return text;
    text.append(chunk.data(), static_cast<std::size_t>(got));
  }
}

std::string last_line_of(const std::string& path) {
  std::ifstream file(path);
  std::string last;
  for (std::string line; std::getline(file, line);) {
    if (!line.empty()) last = line;
  }
  return last;
}

WayFigures way_of(const json& way) {
  return {way.at("offered_bytes").get<double>(), way.at("delivered_bytes").get<double>(),
          way.at("queue_ms").at("p95").get<double>(),
          way.at("delivered_bytes_by_tenth_of_a_second").get<std::vector<double>>()};
}

std::vector<FlowFigures> flows_of(const json& way) {
  std::vector<FlowFigures> flows;
  if (!way.contains("flows")) return flows;
  for (const json& flow : way.at("flows")) {
    flows.push_back(
        {way_of(flow), flow.at("source_port").get<std::uint16_t>(), flow.at("destination_port").get<std::uint16_t>()});
  }
  return flows;
}

double cpu_of(const json& side) {
  return side.at("user_seconds").get<double>() + side.at("system_seconds").get<double>() +
         side.at("receive_seconds").get<double>();
}

LinkFigures figures_of(const json& report) {
  return {.seconds = report.at("seconds").get<double>(),
          .timed_out = report.at("timed_out").get<bool>(),
          .near_exit = report.at("near").at("exit_code").get<int>(),
          .far_exit = report.at("far").at("exit_code").get<int>(),
          .near_cpu_seconds = cpu_of(report.at("near")),
          .far_cpu_seconds = cpu_of(report.at("far")),
          .there = way_of(report.at("there")),
          .back = way_of(report.at("back")),
          .flows_there = flows_of(report.at("there")),
          .flows_back = flows_of(report.at("back")),
          .late_p99_us = report.at("emulator").at("late_us").at("p99").get<double>(),
          .said = {}};
}

}  // namespace

Result<LinkFigures> run_link_program(const std::string& program, const LinkConditions& conditions, const LinkEnds& ends,
                                     const std::string& error_file) {
  std::array<int, 2> pipe_ends{};
  if (::pipe2(pipe_ends.data(), O_CLOEXEC) < 0) return Failure(error_text("no pipe"));
  const Descriptor reader{pipe_ends[0]};
  Descriptor writer{pipe_ends[1]};
  const Descriptor errors{::open(error_file.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600)};
  const auto arguments = arguments_of(program, conditions, ends);
  const pid_t pid = ::fork();
  if (pid < 0) return Failure(error_text("cannot fork"));
  if (pid == 0) become(arguments, writer.get(), errors.get());
  writer.reset();
  const std::string text = read_to_end(pid, reader);
  ::waitpid(pid, nullptr, 0);
  if (interrupted()) return Failure("interrupted");
  const std::string said = last_line_of(error_file);
  try {
    LinkFigures figures = figures_of(json::parse(text));
    figures.said = said;
    return figures;
  } catch (const json::exception&) {
    return Failure(said.empty() ? "no report of the link" : said);
  }
}

}  // namespace portolan::bench
