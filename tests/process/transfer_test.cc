// `portolan send`, `portolan receive` and the drop box as people meet them: whole processes, killed, refused, filled up.
#include "support/daemon.h"
#include "support/database.h"
#include "support/udp_wire.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <random>
#include <sstream>

#include "support/cmocka.h"  // last: it defines fail()

using namespace portolan::testing;

namespace {

std::string noise(std::size_t size, std::uint32_t seed = 12345) {
  std::string text(size, '\0');
  for (char& byte : text) {
    seed = seed * 1664525U + 1013904223U;
    byte = static_cast<char>(seed >> 24U);
  }
  return text;
}

// A command that runs, and what it has printed as JSON lines.
class Command {
 public:
  explicit Command(const TemporaryFolder& folder, std::string name) : file_(folder.file(std::move(name))) {}
  void start(const std::vector<std::string>& arguments, LaunchOptions options = {}) {
    const int output = ::open(file_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    options.standard_output = options.standard_error = output;
    process_.start(portolan_command(arguments), options);
    ::close(output);
  }
  std::vector<Json> events() const {
    std::vector<Json> found;
    std::istringstream lines(read_whole_file(file_));
    for (std::string line; std::getline(lines, line);) {
      Json event = Json::parse(line, nullptr, false);
      if (event.is_object()) found.push_back(std::move(event));
    }
    return found;
  }
  // The first event of this name, null when none comes in time.
  Json wait_for(std::string_view name) const {
    Json found;
    wait_until([&] {
      for (const Json& event : events()) {
        if (event.value("event", "") == name) found = event;
        if (!found.is_null()) break;
      }
      return !found.is_null();
    });
    return found;
  }
  Json last(std::string_view name) const {
    Json found;
    for (const Json& event : events()) {
      if (event.value("event", "") == name) found = event;
    }
    return found;
  }
  std::string output() const { return read_whole_file(file_); }
  ChildProcess& process() noexcept { return process_; }

 private:
  std::string file_;
  ChildProcess process_;
};

struct Fixture {
  TemporaryFolder from, to, scratch;
  Command receiver{scratch, "receive.log"};
  Command sender{scratch, "send.log"};
  std::unique_ptr<UdpWire> wire;
  std::string key_file = scratch.write("key", "correct horse battery staple\n");

  // Answers where it listens, without the scheme.
  std::string receive(std::vector<std::string> arguments = {}, const std::string& listen = "127.0.0.1:0",
                      const LaunchOptions& options = {}) {
    arguments.insert(arguments.begin(), {"receive", to.path(), "--json", "--listen", listen});
    receiver.start(arguments, options);
    const Json listening = receiver.wait_for("listening");
    if (listening.is_null()) fail_msg("it does not listen: %s", receiver.output().c_str());
    std::string address = listening["address"];
    return address.starts_with("rudp://") ? address.substr(7) : address;
  }
  void start_send(const std::string& name, const std::string& where, std::vector<std::string> arguments = {}) {
    arguments.insert(arguments.begin(), {"send", from.file(name), where, "--json"});
    sender.start(arguments);
  }
  int send(const std::string& name, const std::string& where, const std::vector<std::string>& arguments = {}) {
    start_send(name, where, arguments);
    return sender.process().wait(Milliseconds(120'000)).value_or(-1);
  }
};

Fixture& fixture(void** state) { return *static_cast<Fixture*>(*state); }
int set_up(void** state) {
  *state = new Fixture;
  return 0;
}
int tear_down(void** state) {
  delete static_cast<Fixture*>(*state);
  return 0;
}

void expect_code(const Command& command, int code, int expected) {
  if (code != expected) fail_msg("exit code %d: %s", code, command.output().c_str());
}

std::uint16_t port_of(const std::string& address) {
  return static_cast<std::uint16_t>(std::stoi(address.substr(address.rfind(':') + 1)));
}

void a_tree_crosses_every_kind_of_link(void** state) {
  Fixture& f = fixture(state);
  std::filesystem::create_directories(f.from.file("tree/sub"));
  f.from.write("tree/big", noise(3'000'000));
  f.from.write("tree/sub/empty", "");
  f.from.write("tree/sub/odd \xc3\xa4\xff", "odd");
  for (const std::string& listen :
       {std::string("127.0.0.1:0"), std::string("tcp://127.0.0.1:0"), "unix://" + f.scratch.file("link.sock")}) {
    const std::string where = f.receive({"--once"}, listen);
    expect_code(f.sender, f.send("tree", where), 0);
    expect_code(f.receiver, f.receiver.process().wait().value_or(-1), 0);
    assert_true(read_whole_file(f.to.file("tree/big")) == noise(3'000'000));
    assert_true(read_whole_file(f.to.file("tree/sub/odd \xc3\xa4\xff")) == "odd");
    assert_int_equal(f.sender.last("done")["files"], 3);
    std::filesystem::remove_all(f.to.file("tree"));
  }
}

void two_thousand_small_files_take_seconds(void** state) {
  Fixture& f = fixture(state);
  std::filesystem::create_directories(f.from.file("many"));
  const int count = scaled(2000, 200);
  for (int i = 0; i < count; ++i) f.from.write(fmt::format("many/{}", i), fmt::format("{}", i));
  expect_code(f.sender, f.send("many", f.receive()), 0);
  for (int i = 0; i < count; ++i) {
    if (read_whole_file(f.to.file(fmt::format("many/{}", i))) != fmt::format("{}", i)) fail_msg("file %d", i);
  }
  print_message("%d files in %.2f s\n", count, f.sender.last("done")["seconds"].get<double>());
}

void a_history_is_kept_where_it_is_asked_for(void** state) {
  Fixture& f = fixture(state);
  std::filesystem::create_directories(f.from.file("tree"));
  f.from.write("tree/one", noise(500'000));
  f.from.write("tree/two", noise(1'000, 7));
  const std::string sent = f.scratch.file("sent.db");
  const std::string received = f.scratch.file("received.db");
  const std::string where = f.receive({"--once", "--store", received});
  expect_code(f.sender, f.send("tree", where, {"--store", sent}), 0);
  expect_code(f.receiver, f.receiver.process().wait().value_or(-1), 0);
  for (const std::string& store : {sent, received}) {
    assert_int_equal(number_from_database(store, "SELECT count(*) FROM transfers WHERE outcome = 'received'"), 2);
    assert_int_equal(number_from_database(store, "SELECT sum(new_bytes) FROM transfers"), 501'000);
  }
  assert_string_equal(ask_database(received, "SELECT DISTINCT service || direction FROM transfers").c_str(),
                      "receivereceived");
  assert_string_equal(ask_database(sent, "SELECT DISTINCT service || direction FROM transfers").c_str(), "sendsent");
  // Again: it is there already.
  const std::string again = f.receive({"--once"});
  expect_code(f.sender, f.send("tree", again, {"--store", sent}), 0);
  assert_int_equal(
      number_from_database(sent, "SELECT count(*) FROM transfers WHERE outcome = 'identical' AND new_bytes = 0"), 2);
  // What is no store is not written to, and nothing is sent.
  f.scratch.write("text", "these are no rows");
  expect_code(f.sender, f.send("tree", again, {"--store", f.scratch.file("text")}), 1);
  assert_string_equal(read_whole_file(f.scratch.file("text")).c_str(), "these are no rows");
}

// Killed ten times at random on either side, it completes, byte-exact, and sends at most 3 % of
// the bytes twice. Counted on the wire, against a transfer that nobody kills.
void killed_ten_times_it_completes_and_sends_little_twice(void** state) {
  Fixture& f = fixture(state);
  // What a kill costs is about 30 kB, whatever the size: of a smaller file that would be more than 3 %.
  const std::size_t size = 24'000'000;
  f.from.write("big", noise(size));
  const std::vector<std::string> with_key = {"--key-file", f.key_file};
  std::vector<std::string> options = with_key;
  options.insert(options.end(), {"--rate", "6MiB/s", "--stall", "1s"});
  const std::string listen = "127.0.0.1:" + std::to_string(port_of(f.receive(with_key)));
  f.wire = std::make_unique<UdpWire>(port_of(listen));
  expect_code(f.sender, f.send("big", f.wire->address(), options), 0);
  const std::uint64_t clean = f.wire->bytes_to_server();
  std::filesystem::remove(f.to.file("big"));

  std::mt19937 random(20'260'101);
  std::uint64_t start = clean;
  f.start_send("big", f.wire->address(), options);
  for (int kill = 0; kill < 10; ++kill) {
    // At random within each tenth of the way, so that all ten fall into it.
    const std::uint64_t at = clean / 11 * static_cast<unsigned>(kill) + random() % (clean / 11);
    if (!wait_until([&] { return f.wire->bytes_to_server() - start >= at; })) {
      fail_msg("it does not go on: %s", f.sender.output().c_str());
    }
    if (random() % 2 == 0) {
      f.sender.process().kill();
      f.start_send("big", f.wire->address(), options);
    } else {
      f.receiver.process().kill();
      f.receive(with_key, listen);
    }
  }
  expect_code(f.sender, f.sender.process().wait(Milliseconds(120'000)).value_or(-1), 0);
  assert_true(read_whole_file(f.to.file("big")) == noise(size));
  const std::uint64_t sent = f.wire->bytes_to_server() - start;
  const double twice = 100.0 * (static_cast<double>(sent) - static_cast<double>(clean)) / static_cast<double>(size);
  print_message("%.2f %% of the bytes twice\n", twice);
  // An emulated side is slow to die and to begin: more is under way.
  assert_true(twice <= (std::getenv("PORTOLAN_EMULATOR") ? 15.0 : 3.0));
  // Nothing else is left.
  assert_int_equal(std::distance(std::filesystem::directory_iterator(f.to.path()), {}), 1);
}

void a_stall_is_said_and_survived(void** state) {
  Fixture& f = fixture(state);
  f.from.write("big", noise(4'000'000));
  f.wire = std::make_unique<UdpWire>(port_of(f.receive()));
  f.start_send("big", f.wire->address(), {"--rate", "2MiB/s", "--stall", "1s"});
  assert_true(wait_until([&] { return f.wire->bytes_to_server() > 1'000'000; }));
  f.wire->cut(true);
  const Json stalled = f.sender.wait_for("stalled");
  if (stalled.is_null()) fail_msg("nothing is said: %s", f.sender.output().c_str());
  f.wire->cut(false);
  expect_code(f.sender, f.sender.process().wait(Milliseconds(60'000)).value_or(-1), 0);
  assert_true(read_whole_file(f.to.file("big")) == noise(4'000'000));
  // And one that does not end fails, with the reason.
  f.from.write("second", noise(4'000'000, 2));
  f.start_send("second", f.wire->address(), {"--rate", "2MiB/s", "--stall", "1s", "--give-up", "3s"});
  assert_false(f.sender.wait_for("progress").is_null());
  f.wire->cut(true);
  const int code = f.sender.process().wait(Milliseconds(60'000)).value_or(-1);
  assert_true(code == 1 || code == 3);
  assert_true(f.sender.last("failed")["why"].get<std::string>().find("no progress for") != std::string::npos);
}

void another_key_opens_nothing(void** state) {
  Fixture& f = fixture(state);
  f.from.write("f", "content");
  const std::string where = f.receive({"--key-file", f.key_file});
  const std::string wrong = f.scratch.write("wrong", "another passphrase");
  const int code = f.send("f", where, {"--key-file", wrong, "--give-up", "3s"});
  assert_true(code == 1 || code == 3);
  assert_int_not_equal(f.send("f", where, {"--give-up", "3s"}), 0);
  assert_int_equal(std::distance(std::filesystem::directory_iterator(f.to.path()), {}), 0);
  expect_code(f.sender, f.send("f", where, {"--key-file", f.key_file}), 0);
  assert_string_equal(read_whole_file(f.to.file("f")).c_str(), "content");
}

void what_is_refused_is_said_by_both(void** state) {
  Fixture& f = fixture(state);
  f.from.write("f", noise(100'000));
  std::string where = f.receive({"--quota", "50KiB"}, "tcp://127.0.0.1:0");
  expect_code(f.sender, f.send("f", where), 1);
  assert_true(f.sender.last("failed")["why"].get<std::string>().find("quota of 50KiB") != std::string::npos);
  f.receiver.process().kill();
  where = f.receive({"--allow", "192.0.2.0/24"}, "tcp://127.0.0.1:0");
  assert_int_not_equal(f.send("f", where, {"--give-up", "1s"}), 0);
  assert_false(f.receiver.wait_for("turned_away").is_null());
  f.receiver.process().kill();
  f.to.write("f", "another");
  where = f.receive({"--once"}, "tcp://127.0.0.1:0");
  expect_code(f.sender, f.send("f", where), 1);
  assert_string_equal(f.sender.last("file")["outcome"].get<std::string>().c_str(), "refused");
  expect_code(f.receiver, f.receiver.process().wait().value_or(-1), 1);
  assert_string_equal(read_whole_file(f.to.file("f")).c_str(), "another");
}

void exit_codes_tell_what_was_wrong(void** state) {
  Fixture& f = fixture(state);
  f.from.write("f", "content");
  expect_code(f.sender, f.send("absent", "127.0.0.1"), 4);
  expect_code(f.sender, f.send("f", "tcp://127.0.0.1:1", {"--give-up", "500ms"}), 3);
  expect_code(f.sender, f.send("f", "udp://127.0.0.1:1"), 2);
  assert_int_equal(run_portolan({"send", f.from.file("f")}).code, 2);
  assert_int_equal(run_portolan({"send", f.from.file("f"), "127.0.0.1", "--congestion", "fixed"}).code, 2);
  assert_int_equal(run_portolan({"receive", "--listen", "nas.lan"}).code, 2);
  assert_int_equal(run_portolan({"receive", f.to.path(), "--key-file", f.scratch.file("absent")}).code, 1);
}

// A disk of 4 MiB: what does not fit is refused before, and the rest arrives.
void a_full_disk_refuses_and_takes_what_fits(void** state) {
  Fixture& f = fixture(state);
  if (::geteuid() != 0 || !emulator_command().empty()) skip();
  f.from.write("large", noise(6'000'000));
  f.from.write("small", noise(1'000'000));
  const std::string folder = f.to.path();
  const LaunchOptions on_a_small_disk{.in_child = [folder] {
    if (::unshare(CLONE_NEWNS) != 0 || ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        ::mount("tmpfs", folder.c_str(), "tmpfs", 0, "size=4m") != 0) {
      ::_exit(125);
    }
  }};
  std::vector<std::string> arguments = {"--keep-free", "0"};
  const std::string where = f.receive(arguments, "tcp://127.0.0.1:0", on_a_small_disk);
  expect_code(f.sender, f.send("large", where), 1);
  assert_true(f.sender.last("failed")["why"].get<std::string>().find("are free on the disk") != std::string::npos);
  expect_code(f.sender, f.send("small", where), 0);
}

void the_drop_box_takes_files_asks_and_remembers(void** state) {
  Fixture& f = fixture(state);
  Daemon daemon;
  f.from.write("good.txt", noise(200'000));
  f.from.write("bad.exe", "MZ");
  std::filesystem::create_directories(f.from.file("all"));
  f.from.write("all/good.txt", noise(200'000));
  f.from.write("all/bad.exe", "MZ");
  f.from.write("all/slow.txt", "slow");
  daemon.start(fmt::format(R"(return {{ store = {{ flush_every = '1s' }}, services = {{
      {{ plugin = 'drop_box', name = 'in', folder = '{}', quota = '10MiB',
         listen = {{ 'tcp://127.0.0.1:0', 'rudp://127.0.0.1:0', 'unix://{}/in.sock' }}, rudp = {{ key_file = '{}' }},
         on_file = function(file, session)
           if file.name:match('%.exe$') then return nil, 'no programs from ' .. session.transport end
           if file.name == 'all/slow.txt' then portolan.sleep('100ms') return 'kept/' .. #file.sha256 .. '.txt' end
         end }} }} }})",
                           f.to.path(), daemon.folder().path(), f.key_file));
  expect_code(f.sender, f.send("all", daemon.address("in", "tcp")), 1);
  assert_true(read_whole_file(f.to.file("all/good.txt")) == noise(200'000));
  assert_string_equal(read_whole_file(f.to.file("kept/64.txt")).c_str(), "slow");
  assert_false(std::filesystem::exists(f.to.file("all/bad.exe")));
  assert_true(f.sender.output().find("no programs from tcp") != std::string::npos);
  expect_code(f.sender, f.send("good.txt", daemon.address("in", "unix")), 0);
  std::filesystem::remove(f.to.file("good.txt"));
  const std::string by_rudp = daemon.address("in", "rudp");
  expect_code(f.sender, f.send("good.txt", by_rudp, {"--key-file", f.key_file}), 0);
  assert_true(read_whole_file(f.to.file("good.txt")) == noise(200'000));
  assert_true(daemon.wait_for_counter("in", "files", 4));
  assert_int_equal(daemon.counter("in", "transfers"), 3);
  assert_int_equal(daemon.stop(), 0);
  assert_int_equal(number_from_database(daemon.store_path(), "SELECT count(*) FROM transfers WHERE service = 'in'"), 5);
  assert_string_equal(
      ask_database(daemon.store_path(), "SELECT outcome || ' ' || detail FROM transfers WHERE name = 'all/bad.exe'")
          .c_str(),
      "refused no programs from tcp");
  assert_int_equal(
      number_from_database(daemon.store_path(),
                           "SELECT sum(new_bytes) FROM transfers WHERE name = 'good.txt' AND length(sha256) = 64"),
      400'000);
  assert_string_equal(daemon.end().c_str(), "");
}

// The daemon dies in the middle, too.
void a_drop_box_that_is_killed_goes_on(void** state) {
  Fixture& f = fixture(state);
  Daemon daemon;
  f.from.write("big", noise(8'000'000));
  const std::string socket = daemon.folder().file("in.sock");
  const std::string configuration = fmt::format(
      "return {{ services = {{ {{ plugin = 'drop_box', name = 'in', folder = '{}', listen = 'unix://{}',"
      " limits = {{ {{ count = 'bytes', rate = '4MiB/s', over = 'delay' }} }} }} }} }}",
      f.to.path(), socket);
  daemon.start(configuration);
  f.start_send("big", "unix://" + socket, {"--stall", "1s"});
  assert_true(daemon.wait_for_counter("in", "bytes_in", 2'000'000));
  daemon.kill();
  daemon.start(configuration);
  expect_code(f.sender, f.sender.process().wait(Milliseconds(60'000)).value_or(-1), 0);
  assert_true(read_whole_file(f.to.file("big")) == noise(8'000'000));
  assert_true(f.sender.last("done")["sent_bytes"].get<std::int64_t>() < 12'000'000);
}

}  // namespace

int main() {
  const CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(a_tree_crosses_every_kind_of_link, set_up, tear_down),
      cmocka_unit_test_setup_teardown(two_thousand_small_files_take_seconds, set_up, tear_down),
      cmocka_unit_test_setup_teardown(a_history_is_kept_where_it_is_asked_for, set_up, tear_down),
      cmocka_unit_test_setup_teardown(killed_ten_times_it_completes_and_sends_little_twice, set_up, tear_down),
      cmocka_unit_test_setup_teardown(a_stall_is_said_and_survived, set_up, tear_down),
      cmocka_unit_test_setup_teardown(another_key_opens_nothing, set_up, tear_down),
      cmocka_unit_test_setup_teardown(what_is_refused_is_said_by_both, set_up, tear_down),
      cmocka_unit_test_setup_teardown(exit_codes_tell_what_was_wrong, set_up, tear_down),
      cmocka_unit_test_setup_teardown(a_full_disk_refuses_and_takes_what_fits, set_up, tear_down),
      cmocka_unit_test_setup_teardown(the_drop_box_takes_files_asks_and_remembers, set_up, tear_down),
      cmocka_unit_test_setup_teardown(a_drop_box_that_is_killed_goes_on, set_up, tear_down),
  };
  return cmocka_run_group_tests(tests, nullptr, nullptr);
}
