// `portolan net NAME` as a whole program, and the trap of static glibc: its getaddrinfo loads modules of the machine.
//
// In a network namespace of its own, with a DNS server on 127.0.0.1:53. A static binary runs in an empty root that holds
// it and etc/resolv.conf, and nothing else; a dynamic one, which could not even start there, runs in a mount namespace
// where our files lie over those of /etc. Needs root; skipped without, and where the machine allows no namespaces.
#include "support/child_process.h"
#include "support/daemon.h"
#include "support/dns_server.h"
#include "support/temporary_folder.h"

#include <elf.h>
#include <net/if.h>
#include <sched.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "support/cmocka.h"

using namespace portolan::testing;

namespace {

// ---- The binary ----------------------------------------------------------------------------------------------

template <typename Header, typename Segment>
bool names_interpreter(const std::string& file) {
  Header header;
  if (file.size() < sizeof header) return true;
  std::memcpy(&header, file.data(), sizeof header);
  for (std::size_t i = 0; i < header.e_phnum; ++i) {
    Segment segment;
    const std::size_t at = header.e_phoff + i * header.e_phentsize;
    if (at + sizeof segment > file.size()) return true;
    std::memcpy(&segment, file.data() + at, sizeof segment);
    if (segment.p_type == PT_INTERP) return true;
  }
  return false;
}

// Whether a program needs a loader, and so files beside it. Of any architecture in our byte order.
bool is_dynamic(const std::string& path) {
  const std::string file = read_whole_file(path);
  if (file.size() < EI_NIDENT || file.compare(0, SELFMAG, ELFMAG) != 0) return true;
  return file[EI_CLASS] == ELFCLASS64 ? names_interpreter<Elf64_Ehdr, Elf64_Phdr>(file)
                                      : names_interpreter<Elf32_Ehdr, Elf32_Phdr>(file);
}

// The program that runs binaries of another architecture: the first word of PORTOLAN_EMULATOR, found in $PATH.
std::string emulator() {
  const char* command = std::getenv("PORTOLAN_EMULATOR");
  if (!command || !*command) return {};
  const std::string name(command, std::strcspn(command, ";"));
  if (name.find('/') != std::string::npos) return name;
  std::istringstream folders(std::getenv("PATH") ? std::getenv("PATH") : "/usr/bin");
  for (std::string folder; std::getline(folders, folder, ':');) {
    if (::access((folder + "/" + name).c_str(), X_OK) == 0) return folder + "/" + name;
  }
  return name;
}

// ---- Where it runs -------------------------------------------------------------------------------------------

// Why the tests cannot run here; empty when they can. Asked once, before any thread is there: from then on this
// process and its children are alone in their network.
std::string enter_own_network() {
  if (::geteuid() != 0) return "it needs root, for a network and a root directory of its own";
  if (is_dynamic(portolan_binary()) && !emulator().empty()) {
    return "the binary is dynamic and emulated: its emulator reads files of the sysroot in place of ours";
  }
  if (!emulator().empty() && is_dynamic(emulator())) return emulator() + " is dynamic: it cannot run in an empty root";
  if (::unshare(CLONE_NEWNET) != 0) return std::string("no network namespace can be made: ") + std::strerror(errno);
  ifreq loopback{};
  std::strcpy(loopback.ifr_name, "lo");
  loopback.ifr_flags = IFF_UP | IFF_RUNNING;
  const int descriptor = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  const int up = ::ioctl(descriptor, SIOCSIFFLAGS, &loopback);
  const int error = errno;
  ::close(descriptor);
  return up == 0 ? "" : std::string("the loopback interface does not come up: ") + std::strerror(error);
}

// The folder that is the program's root, or whose etc/ lies over the machine's.
class Place {
 public:
  Place() : dynamic_(is_dynamic(portolan_binary())) {
    std::filesystem::create_directory(etc());
    write("resolv.conf", "nameserver 127.0.0.1\n");
    if (dynamic_) return;
    put_program(portolan_binary(), "portolan");
    if (!emulator().empty()) put_program(emulator(), "emulator");
  }
  ~Place() {
    if (watching_ >= 0) ::close(watching_);
  }

  std::string etc() const { return folder_.file("etc"); }
  // A file of etc() by the name that the program knows it by.
  std::string seen_inside(const std::string& name) const { return (dynamic_ ? etc() : "/etc") + "/" + name; }
  void write(const std::string& name, const std::string& content) const {
    std::ofstream(etc() + "/" + name) << content;
  }

  // `portolan ARGUMENTS...` in there.
  CommandResult run(const std::vector<std::string>& arguments) {
    std::vector<std::string> command;
    LaunchOptions options;
    if (dynamic_) {
      command = {portolan_binary()};
      options.in_child = [this] { lay_over_etc(); };
    } else {
      command = {"/portolan"};
      if (!emulator().empty()) command.insert(command.begin(), "/emulator");
      options.in_child = [this] {
        if (::chroot(folder_.path().c_str()) != 0 || ::chdir("/") != 0) ::_exit(126);
      };
    }
    command.insert(command.end(), arguments.begin(), arguments.end());
    if (watching_ >= 0) ::close(watching_);
    watching_ = ::inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (::inotify_add_watch(watching_, etc().c_str(), IN_OPEN) < 0) std::perror("inotify");
    return run_to_end(command, options, Milliseconds(60'000));
  }

  // The files of etc/ that the last run has opened; asked once.
  std::set<std::string> opened() const {
    std::set<std::string> names;
    alignas(inotify_event) char buffer[4096];
    for (ssize_t got = 0; (got = ::read(watching_, buffer, sizeof buffer)) > 0;) {
      for (ssize_t at = 0; at < got;) {
        inotify_event event;
        std::memcpy(&event, buffer + at, sizeof event);
        if (event.len > 0) names.insert(buffer + at + sizeof event);
        at += static_cast<ssize_t>(sizeof event + event.len);
      }
    }
    return names;
  }

 private:
  void put_program(const std::string& from, const char* name) const {
    std::filesystem::copy_file(from, folder_.file(name));
    std::filesystem::permissions(folder_.file(name), std::filesystem::perms(0755));
  }
  // In the child, which leaves the mounts behind when it ends.
  void lay_over_etc() const {
    if (::unshare(CLONE_NEWNS) != 0 || ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) ::_exit(125);
    for (const char* name : {"resolv.conf", "nsswitch.conf", "hosts"}) {
      const std::string ours = etc() + "/" + name;
      const std::string theirs = std::string("/etc/") + name;
      if (::access(ours.c_str(), F_OK) != 0) continue;
      if (::mount(ours.c_str(), theirs.c_str(), nullptr, MS_BIND, nullptr) != 0) ::_exit(125);
    }
  }

  TemporaryFolder folder_;
  const bool dynamic_;
  int watching_ = -1;
};

// ---- The tests -----------------------------------------------------------------------------------------------

std::string why_not;  // set by main

struct Fixture {
  Fixture() {
    server.add("some.name", "192.0.2.80", 77);
    server.add("some.name", "2001:db8::80", 77);
    server.add("nas", "192.0.2.66");
  }
  DnsServer server{"127.0.0.1", 53};
  Place place;
};

int set_up(void** state) {
  *state = why_not.empty() ? new Fixture : nullptr;
  return 0;
}
int tear_down(void** state) {
  delete static_cast<Fixture*>(*state);
  return 0;
}

Fixture& of(void** state) {
  if (!*state) skip();
  return *static_cast<Fixture*>(*state);
}

void assert_finds(const CommandResult& result) {
  if (result.code != 0) print_error("exit code %d: %s", result.code, result.errors.c_str());
  assert_int_equal(result.code, 0);
  const Json found = Json::parse(result.output, nullptr, false);
  assert_false(found.is_discarded());
  assert_int_equal(found["addresses"].size(), 2);
  const Json& v6 = found["addresses"][0];
  const Json& v4 = found["addresses"][1];
  assert_string_equal(v6["address"].get<std::string>().c_str(), "2001:db8::80");
  assert_string_equal(v4["address"].get<std::string>().c_str(), "192.0.2.80");
  assert_string_equal(v4["input"].get<std::string>().c_str(), "some.name");
  assert_string_equal(v4["scope"].get<std::string>().c_str(), "documentation");
  assert_int_equal(v4["ttl"].get<int>(), 77);
}

void a_name_resolves_with_nothing_but_resolv_conf(void** state) {
  Fixture& f = of(state);
  assert_finds(f.place.run({"net", "--json", "some.name"}));
  assert_true(f.place.opened().contains("resolv.conf"));
  const CommandResult shown = f.place.run({"net", "some.name"});
  assert_string_equal(shown.output.c_str(),
                      "some.name\n  IPv6  2001:db8::80  documentation  for 77 s\n"
                      "  IPv4  192.0.2.80  documentation  for 77 s\n");
}

void modules_that_nsswitch_names_are_not_looked_for(void** state) {
  Fixture& f = of(state);
  f.place.write("nsswitch.conf", "hosts: trap\n");
  assert_finds(f.place.run({"net", "--json", "some.name"}));
  const std::set<std::string> opened = f.place.opened();
  assert_true(opened.contains("resolv.conf"));
  assert_false(opened.contains("nsswitch.conf"));
}

void hosts_come_before_servers(void** state) {
  Fixture& f = of(state);
  f.place.write("hosts", "192.168.7.7 nas nas.lan\nfd00::7 nas\n");
  const CommandResult shown = f.place.run({"net", "nas"});
  assert_string_equal(shown.output.c_str(), "nas\n  IPv6  fd00::7  private\n  IPv4  192.168.7.7  private\n");
  assert_int_equal(f.server.questions().size(), 0);
}

// A script's lookup ends with its time, whatever the server does.
void a_script_waits_no_longer_than_it_says(void** state) {
  Fixture& f = of(state);
  f.server.behave("slow.lan", DnsType::any, DnsBehaviour::silence);
  f.place.write("slow.lua",
                "for i = 1, 3 do print(portolan.resolve('slow.lan', { timeout = '20ms' })) end\n"
                "print(portolan.resolve('nas', { family = 'ipv4' })[1])");
  const CommandResult said = f.place.run({"script", f.place.seen_inside("slow.lua")});
  assert_string_equal(said.errors.c_str(), "");
  assert_string_equal(said.output.c_str(), "nil timed out\nnil timed out\nnil timed out\n192.0.2.66\n");
  assert_int_equal(said.code, 0);
}

void what_fails_says_who_was_asked(void** state) {
  Fixture& f = of(state);
  const CommandResult absent = f.place.run({"net", "nobody.lan", "192.0.2.1"});
  assert_int_equal(absent.code, 4);
  assert_string_equal(absent.errors.c_str(), "portolan net: nobody.lan: name not found (asked 127.0.0.1)\n");
  assert_non_null(std::strstr(absent.output.c_str(), "documentation"));
  f.server.behave("broken.lan", DnsType::any, DnsBehaviour::server_failure);
  const CommandResult broken = f.place.run({"net", "broken.lan", "nobody.lan"});
  assert_int_equal(broken.code, 1);
  assert_non_null(std::strstr(broken.errors.c_str(),
                              "portolan net: broken.lan: every server refused or failed (asked 127.0.0.1)\n"));
}

}  // namespace

int main() {
  why_not = enter_own_network();
  if (!why_not.empty()) print_message("skipped: %s\n", why_not.c_str());
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
  const CMUnitTest tests[] = {
      TEST(a_name_resolves_with_nothing_but_resolv_conf),
      TEST(a_script_waits_no_longer_than_it_says),
      TEST(modules_that_nsswitch_names_are_not_looked_for),
      TEST(hosts_come_before_servers),
      TEST(what_fails_says_who_was_asked),
  };
  return cmocka_run_group_tests_name("process.names", tests, nullptr, nullptr);
}
