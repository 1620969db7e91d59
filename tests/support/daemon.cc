#include "support/daemon.h"

#include "support/cmocka.h"

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <sstream>
#include <utility>

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

namespace portolan::testing {

namespace {

// Says everything first: cmocka cuts long messages.
[[noreturn]] void give_up(const Daemon& daemon, const std::string& what) {
  std::fprintf(stderr, "%s\n", what.c_str());
  daemon.show_log();
  fail();
  std::abort();
}

// `service` and `reason` as labels of a line in Prometheus text.
bool has_label(std::string_view line, std::string_view name, std::string_view value) {
  return line.find(std::string(name) + "=\"" + std::string(value) + "\"") != std::string_view::npos;
}

}  // namespace

std::string portolan_binary() {
  const char* path = std::getenv("PORTOLAN");
  if (!path || !*path) {
    std::fprintf(stderr, "PORTOLAN does not name the binary under test (ctest sets it)\n");
    std::exit(2);
  }
  return path;
}

std::vector<std::string> emulator_command() {
  std::vector<std::string> parts;
  const char* text = std::getenv("PORTOLAN_EMULATOR");
  std::istringstream rest(text ? text : "");
  for (std::string part; std::getline(rest, part, ';');) parts.push_back(part);
  return parts;
}

std::vector<std::string> portolan_command(const std::vector<std::string>& arguments) {
  std::vector<std::string> command = emulator_command();
  command.push_back(portolan_binary());
  command.insert(command.end(), arguments.begin(), arguments.end());
  return command;
}

CommandResult run_portolan(std::vector<std::string> arguments, LaunchOptions options, Milliseconds patience) {
  return run_to_end(portolan_command(arguments), std::move(options), patience);
}

Daemon::Daemon() = default;

Daemon::~Daemon() {
  process_.kill();
  if (output_fd_ >= 0) ::close(output_fd_);
}

void Daemon::launch(std::string_view configuration, const RunOptions& options) {
  const std::string file = configure(configuration);
  std::vector<std::string> command = portolan_command({"run", "-c", file});
  command.insert(command.end(), options.arguments.begin(), options.arguments.end());

  int pipe_ends[2];
  if (::pipe2(pipe_ends, O_CLOEXEC) != 0) std::abort();
  const int log = ::open(folder_.file("log").c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  LaunchOptions launch = options.launch;
  launch.folder = folder_.path();
  launch.standard_output = pipe_ends[1];
  launch.standard_error = log;
  // The state directory is the test's folder unless the configuration says otherwise.
  launch.environment.insert(launch.environment.begin(),
                            {{"STATE_DIRECTORY", folder_.path()}, {"NOTIFY_SOCKET", ""}, {"LISTEN_FDS", ""}});
  launch.in_child = [&options] {
    if (options.descriptor_limit > 0) {
      const rlimit limit{.rlim_cur = options.descriptor_limit, .rlim_max = options.descriptor_limit};
      ::setrlimit(RLIMIT_NOFILE, &limit);
    }
    if (options.launch.in_child) options.launch.in_child();
  };
  if (output_fd_ >= 0) ::close(output_fd_);
  output_.clear();
  parsed_ = 0;
  listening_.clear();
  ready_ = false;
  killed_ = false;
  process_.start(command, launch);
  ::close(pipe_ends[1]);
  ::close(log);
  output_fd_ = pipe_ends[0];
  ::fcntl(output_fd_, F_SETFL, O_NONBLOCK);
}

void Daemon::start(std::string_view configuration, const RunOptions& options) {
  launch(configuration, options);
  if (wait_ready()) return;
  const std::optional<int> code = process_.wait(Milliseconds(0));
  give_up(*this, code ? "the daemon ended with " + std::to_string(*code) + " before it was ready"
                      : std::string("the daemon was not ready in time"));
}

void Daemon::read_output(int timeout_ms) {
  pollfd entry{.fd = output_fd_, .events = POLLIN, .revents = 0};
  if (output_fd_ < 0 || ::poll(&entry, 1, timeout_ms) <= 0) return;
  char block[4096];
  const ssize_t count = ::read(output_fd_, block, sizeof block);
  if (count == 0) {
    ::close(output_fd_);
    output_fd_ = -1;
  }
  if (count > 0) output_.append(block, static_cast<std::size_t>(count));
  for (std::size_t newline; (newline = output_.find('\n', parsed_)) != std::string::npos; parsed_ = newline + 1) {
    std::istringstream line(output_.substr(parsed_, newline - parsed_));
    std::string word;
    Listening entry_found;
    line >> word >> entry_found.service >> entry_found.address;
    if (word == "ready") ready_ = true;
    if (word == "listening") listening_.push_back(std::move(entry_found));
  }
}

bool Daemon::wait_ready(Milliseconds patience) {
  const Deadline deadline(patience);
  while (!ready_ && output_fd_ >= 0 && !deadline.passed()) read_output(deadline.left_ms());
  return ready_;
}

std::string Daemon::address(std::string_view service, std::string_view scheme) {
  for (const Listening& entry : listening_) {
    if (entry.service == service && entry.address.starts_with(std::string(scheme) + "://")) return entry.address;
  }
  give_up(*this, "no " + std::string(scheme) + " listener of " + std::string(service) + " among:\n" + output_);
}

std::string Daemon::log() const { return read_whole_file(folder_.file("log")); }

void Daemon::show_log() const {
  std::string text = log();
  constexpr std::size_t kMost = 16384;
  if (text.size() > kMost) text = "...\n" + text.substr(text.size() - kMost);
  std::fprintf(stderr, "---- the daemon said:\n%s----\n", text.c_str());
}

int Daemon::stop(Milliseconds patience) {
  process_.signal(SIGTERM);
  return process_.wait(patience).value_or(-1);
}

void Daemon::kill() {
  killed_ = true;
  process_.kill();
}

std::string Daemon::end() {
  std::string wrong;
  if (process_.running()) {
    if (const int code = stop(Milliseconds(15'000)); code != 0) {
      wrong = "the daemon ended with " + std::to_string(code) + " at SIGTERM (-1: it went on)";
    }
  } else if (const std::optional<int> code = process_.wait(Milliseconds(0)); !killed_ && code && *code > 1) {
    wrong = "the daemon had ended with " + std::to_string(*code);
  }
  process_.kill();
  for (const char* complaint : {"ERROR: AddressSanitizer", "ERROR: LeakSanitizer", "WARNING: ThreadSanitizer",
                                "runtime error:", "terminate called"}) {
    if (log_has(complaint)) wrong = std::string("the daemon's log has: ") + complaint;
  }
  if (!wrong.empty()) show_log();
  return wrong;
}

CommandResult Daemon::command(std::vector<std::string> arguments, Milliseconds patience) {
  arguments.insert(arguments.end(), {"--socket", socket_path()});
  LaunchOptions options;
  options.folder = folder_.path();
  return run_portolan(std::move(arguments), options, patience);
}

Json Daemon::query(std::vector<std::string> arguments) {
  arguments.emplace_back("--json");
  const std::string asked = arguments[0];
  const CommandResult result = command(std::move(arguments));
  if (result.code != 0) {
    give_up(*this, asked + " --json ended with " + std::to_string(result.code) + ": " + result.errors);
  }
  Json answer = Json::parse(result.output, nullptr, false);
  if (answer.is_discarded()) give_up(*this, asked + " --json printed what is not JSON:\n" + result.output);
  return answer;
}

long Daemon::counter(const std::string& service, const std::string& name) {
  const HttpAnswer answer = http_get("unix://" + socket_path(), "/metrics");
  if (answer.status != 200) give_up(*this, "/metrics answered " + std::to_string(answer.status) + answer.body);
  // refused_max_sessions is the reason max_sessions of the family portolan_refused_total.
  const bool refusal = name.starts_with("refused_");
  const std::string family = refusal ? "portolan_refused_total" : "portolan_" + name;
  long sum = -1;
  std::istringstream lines(answer.body);
  for (std::string line; std::getline(lines, line);) {
    const std::size_t end_of_name = line.find_first_of("{ ");
    if (end_of_name == std::string::npos) continue;
    const std::string metric = line.substr(0, end_of_name);
    if (metric != family && metric != family + "_total") continue;
    if (!has_label(line, "service", service)) continue;
    if (refusal && !has_label(line, "reason", name.substr(8))) continue;
    sum = (sum < 0 ? 0 : sum) + static_cast<long>(std::atof(line.c_str() + line.rfind(' ')));
  }
  return sum;
}

bool Daemon::wait_for_counter(const std::string& service, const std::string& name, long at_least,
                              Milliseconds patience) {
  long last = -1;
  if (wait_until([&] { return (last = counter(service, name)) >= at_least; }, patience)) return true;
  std::fprintf(stderr, "%s of %s is %ld after the wait, not %ld\n", name.c_str(), service.c_str(), last, at_least);
  return false;
}

namespace {

HttpAnswer http_ask(const std::string& method, const std::string& address, const std::string& path) {
  HttpAnswer answer;
  Client client(address);
  if (!client.send(method + " " + path +
                   " HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"))
    return answer;
  const std::string text = client.receive_all();
  if (!text.starts_with("HTTP/1.1 ")) return answer;
  answer.status = std::atoi(text.c_str() + 9);
  const std::size_t blank = text.find("\r\n\r\n");
  if (blank == std::string::npos) return answer;
  answer.body = text.substr(blank + 4);
  if (text.substr(0, blank).find("chunked") == std::string::npos) return answer;
  std::string whole;
  for (std::size_t at = 0; at < answer.body.size();) {
    char* after = nullptr;
    const std::size_t size = std::strtoul(answer.body.c_str() + at, &after, 16);
    const auto data = static_cast<std::size_t>(after - answer.body.c_str()) + 2;
    if (size == 0 || data + size > answer.body.size()) break;
    whole += answer.body.substr(data, size);
    at = data + size + 2;
  }
  answer.body = whole;
  return answer;
}

}  // namespace

HttpAnswer http_get(const std::string& address, const std::string& path) { return http_ask("GET", address, path); }
HttpAnswer http_post(const std::string& address, const std::string& path) { return http_ask("POST", address, path); }

int make_daemon(void** state) {
  *state = new Daemon;
  return 0;
}

int end_daemon(void** state) {
  auto* daemon = static_cast<Daemon*>(*state);
  const std::string wrong = daemon->end();
  if (!wrong.empty()) std::fprintf(stderr, "%s\n", wrong.c_str());
  delete daemon;
  return wrong.empty() ? 0 : -1;
}

}  // namespace portolan::testing
