// Programs that people use, through the relay, to the servers that they are for. The packages are the section
// [test-peers] of packages.txt.
#include "support/dns_server.h"
#include "support/relay.h"
#include "support/server_socket.h"

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support/cmocka.h"  // last: it defines fail()

using namespace portolan::testing;

namespace {

// Answers each request with its own path, then closes.
class SmallWebServer {
 public:
  explicit SmallWebServer(SSL_CTX* tls)
      : server_(tls ? "tls://127.0.0.1:0" : "tcp://127.0.0.1:0", {.tls = tls}), thread_([this] { run(); }) {}
  ~SmallWebServer() {
    stopping_ = true;
    thread_.join();
  }
  const std::string& address() const noexcept { return server_.address(); }
  std::string port() const { return address().substr(address().rfind(':') + 1); }

 private:
  void run() {
    while (!stopping_) {
      Client client = server_.accept(Milliseconds(50));
      if (!client.connected()) continue;
      const std::string request = client.receive_line();
      while (client.receive_line().size() > 2) {
      }
      const std::string path = request.substr(0, request.rfind(' '));
      client.send(
          fmt::format("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{}", path.size(), path));
      client.finish_sending();
    }
  }

  ServerSocket server_;
  std::atomic<bool> stopping_ = false;
  std::thread thread_;
};

struct Fixture {
  Daemon daemon;
  ChildProcess server;
  std::unique_ptr<DnsServer> dns;
  std::unique_ptr<SmallWebServer> web;
  std::unique_ptr<SmallWebServer> plain;
  std::unique_ptr<ServerTls> tls;
};

int set_up(void** state) {
  *state = new Fixture;
  return 0;
}

int tear_down(void** state) {
  auto* fixture = static_cast<Fixture*>(*state);
  fixture->web.reset();
  fixture->plain.reset();
  fixture->server.kill();
  const std::string wrong = fixture->daemon.end();
  if (!wrong.empty()) print_error("%s\n", wrong.c_str());
  delete fixture;
  return wrong.empty() ? 0 : -1;
}

Fixture& fixture_of(void** state) { return *static_cast<Fixture*>(*state); }

// The tests go on only where these are; under an emulator, whose machine has none of them, they are skipped.
void need(const std::vector<std::string>& programs) {
  for (const std::string& program : programs) {
    if (run_to_end({"sh", "-c", "PATH=$PATH:/usr/sbin command -v " + program}).code == 0) continue;
    if (!emulator_command().empty()) skip();
    print_error("%s is missing: install what [test-peers] in packages.txt lists (./dev test does)\n", program.c_str());
    fail();
  }
}

std::string port_of(const std::string& address) { return address.substr(address.rfind(':') + 1); }

// One that is free now, for a server that cannot tell which it got.
std::string free_port() {
  std::string address = "tcp://127.0.0.1:0";
  ::close(bind_socket(address));
  return port_of(address);
}

void wait_for(const std::string& address) {
  assert_true(wait_until([&] { return Client(address).connected(); }));
}

CommandResult run(const std::vector<std::string>& command) {
  CommandResult result = run_to_end(command, {}, Milliseconds(60'000));
  if (result.code != 0)
    print_error("%s ended with %d:\n%s%s\n", command.front().c_str(), result.code, result.output.c_str(),
                result.errors.c_str());
  return result;
}

void ssh_and_scp(void** state) {
  need({"sshd", "ssh", "scp", "ssh-keygen"});
  Fixture& fixture = fixture_of(state);
  Daemon& daemon = fixture.daemon;
  const TemporaryFolder& folder = daemon.folder();
  for (const char* name : {"host", "user"})
    assert_int_equal(run({"ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder.file(name)}).code, 0);
  const std::string port = free_port();
  folder.write("sshd_config",
               fmt::format("ListenAddress 127.0.0.1:{}\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\nUsePAM no\n"
                           "StrictModes no\nPermitRootLogin prohibit-password\nSubsystem sftp internal-sftp\n",
                           port, folder.file("host"), folder.file("user.pub")));
  // Where root's sshd wants to be while it knows nobody; the package's service makes it.
  if (::geteuid() == 0) ::mkdir("/run/sshd", 0755);
  fixture.server.start({"/usr/sbin/sshd", "-D", "-e", "-f", folder.file("sshd_config")});
  wait_for("tcp://127.0.0.1:" + port);
  daemon.start(relay_configuration({.backends = {"tcp://127.0.0.1:" + port}}));
  const std::string front = port_of(daemon.address("relay"));
  const std::string me = ::getpwuid(::geteuid())->pw_name;
  const std::vector<std::string> options = {"-F", "none",
                                            "-i", folder.file("user"),
                                            "-o", "BatchMode=yes",
                                            "-o", "StrictHostKeyChecking=no",
                                            "-o", "UserKnownHostsFile=/dev/null",
                                            "-o", "LogLevel=ERROR"};
  std::vector<std::string> command = {"ssh", "-p", front};
  command.insert(command.end(), options.begin(), options.end());
  command.insert(command.end(), {me + "@127.0.0.1", "echo through the relay"});
  assert_string_equal(run(command).output.c_str(), "through the relay\n");
  const std::string data = noise(static_cast<std::size_t>(scaled(16, 2)) * 1024 * 1024, 31);
  folder.write("data", data);
  command = {"scp", "-q", "-P", front};
  command.insert(command.end(), options.begin(), options.end());
  command.insert(command.end(), {folder.file("data"), fmt::format("{}@127.0.0.1:{}", me, folder.file("copy"))});
  assert_int_equal(run(command).code, 0);
  assert_true(read_whole_file(folder.file("copy")) == data);
}

void redis_benchmark(void** state) {
  need({"redis-server", "redis-benchmark"});
  Fixture& fixture = fixture_of(state);
  const std::string socket = fixture.daemon.folder().file("redis.sock");
  fixture.server.start({"redis-server", "--port", "0", "--unixsocket", socket, "--save", "", "--appendonly", "no",
                        "--dir", fixture.daemon.folder().path()});
  wait_for("unix://" + socket);
  fixture.daemon.start(relay_configuration({.backends = {"unix://" + socket}}));
  const std::string count = std::to_string(scaled(20'000, 1000));
  const CommandResult result =
      run({"redis-benchmark", "-h", "127.0.0.1", "-p", port_of(fixture.daemon.address("relay")), "-t",
           "set,get,lrange_100", "-n", count, "-c", "50", "-P", "4", "-d", "512", "--csv"});
  assert_int_equal(result.code, 0);
  assert_non_null(strstr(result.output.c_str(), "GET"));
  assert_null(strstr(result.output.c_str(), "rror"));
}

void iperf3_over_tcp_and_udp(void** state) {
  need({"iperf3"});
  Fixture& fixture = fixture_of(state);
  const std::string port = free_port();
  fixture.server.start({"iperf3", "-s", "-B", "127.0.0.1", "-p", port});
  wait_for("tcp://127.0.0.1:" + port);
  // It wants one port for its orders and its datagrams.
  fixture.daemon.start(
      fmt::format("return {{ services = {{ "
                  "{{ plugin = 'relay', name = 'streams', listen = 'tcp://127.0.0.2:{0}', backends = "
                  "'tcp://127.0.0.1:{0}' }}, "
                  "{{ plugin = 'relay', name = 'datagrams', listen = 'udp://127.0.0.2:{0}', backends = "
                  "'udp://127.0.0.1:{0}' }} }} }}",
                  port));
  const std::vector<std::string> first = {"iperf3", "-c", "127.0.0.2",         "-p",   port,
                                          "-t",     "1",  "--connect-timeout", "10000"};
  for (const std::vector<std::string>& more :
       std::vector<std::vector<std::string>>{{"-P", "4"},
                                             {"-P", "4", "-R"},
                                             {"-u", "-b", "20M", "-l", "1200"},
                                             {"-u", "-b", "20M", "-l", "1200", "-R"}}) {
    std::vector<std::string> command = first;
    command.insert(command.end(), more.begin(), more.end());
    // The server takes one client at a time, and says that it is busy until it has tidied up.
    CommandResult result;
    assert_true(wait_until([&] {
      result = run_to_end(command, {}, Milliseconds(60'000));
      return result.code == 0 || result.errors.find("busy") == std::string::npos;
    }));
    if (result.code != 0) print_error("%s%s\n", result.output.c_str(), result.errors.c_str());
    assert_int_equal(result.code, 0);
    assert_non_null(strstr(result.output.c_str(), "receiver"));
  }
}

struct Certificates {
  Identity authority = make_authority("Relay CA");
  Identity other = make_authority("Another CA");
  Identity server = issue(authority, "server.test");
};
const Certificates& certificates() {
  static const Certificates all;
  return all;
}

// What curl gets of https://server.test:PORT/PATH there, or how it fails.
CommandResult curl(const Daemon& daemon, const std::string& port, const std::string& path) {
  return run_to_end({"curl", "-sS", "--max-time", "30", "--cacert", daemon.folder().file("ca.pem"), "--resolve",
                     "server.test:" + port + ":127.0.0.1", "--noproxy", "*", "https://server.test:" + port + path});
}

void curl_over_tls(void** state) {
  need({"curl"});
  Fixture& fixture = fixture_of(state);
  Daemon& daemon = fixture.daemon;
  const TemporaryFolder& folder = daemon.folder();
  const std::string ca = folder.write("ca.pem", certificates().authority.certificate);
  const std::string other_ca = folder.write("other.pem", certificates().other.certificate);
  const std::string own = fmt::format("tls = {{ certificate = '{}', key = '{}' }}",
                                      folder.write("cert.pem", certificates().server.certificate),
                                      folder.write("key.pem", certificates().server.key));
  fixture.tls = std::make_unique<ServerTls>(certificates().server);
  fixture.web = std::make_unique<SmallWebServer>(*fixture.tls);
  fixture.plain = std::make_unique<SmallWebServer>(nullptr);
  const std::string secret = fixture.web->port();
  const auto verified = [&](const std::string& by, const std::string& name) {
    return fmt::format("{{ address = 'tls://127.0.0.1:{}', tls = {{ ca = '{}', name = '{}' }} }}", secret, by, name);
  };
  const auto service = [](const std::string& name, const std::string& listen, const std::string& backend,
                          const std::string& more) {
    return fmt::format("{{ plugin = 'relay', name = '{}', listen = '{}://127.0.0.1:0', backends = {{ {} }}, {} }}, ",
                       name, listen, backend, more);
  };
  daemon.start("return { services = { " + service("passes_on", "tcp", fmt::format("'tcp://127.0.0.1:{}'", secret), "") +
               service("ends_tls", "tls", fmt::format("'{}'", fixture.plain->address()), own) +
               service("both", "tls", verified(ca, "server.test"), own) +
               service("wrong_ca", "tls", verified(other_ca, "server.test"), own) +
               service("wrong_name", "tls", verified(ca, "elsewhere.test"), own) + " } }");
  for (const char* name : {"passes_on", "ends_tls", "both"}) {
    const std::string port = port_of(daemon.address(name, std::string(name) == "passes_on" ? "tcp" : "tls"));
    const CommandResult result = curl(daemon, port, fmt::format("/{}", name));
    if (result.code != 0) print_error("%s: %s\n", name, result.errors.c_str());
    assert_string_equal(result.output.c_str(), fmt::format("GET /{}", name).c_str());
  }
  for (const char* name : {"wrong_ca", "wrong_name"}) {
    const CommandResult result = curl(daemon, port_of(daemon.address(name, "tls")), "/secret");
    assert_int_not_equal(result.code, 0);
    assert_string_equal(result.output.c_str(), "");
    assert_true(daemon.counter(name, "no_backend") == 1);
  }
}

void dig_over_udp(void** state) {
  need({"dig"});
  Fixture& fixture = fixture_of(state);
  fixture.dns = std::make_unique<DnsServer>();
  fixture.dns->add("nas.lan", "192.0.2.7");
  fixture.daemon.start(
      relay_configuration({.backends = {"udp://" + fixture.dns->where()}, .listen = "udp://127.0.0.1:0"}));
  const CommandResult result = run({"dig", "@127.0.0.1", "-p", port_of(fixture.daemon.address("relay", "udp")),
                                    "nas.lan", "A", "+short", "+tries=5", "+timeout=5"});
  assert_string_equal(result.output.c_str(), "192.0.2.7\n");
}

}  // namespace

int main() {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
  const CMUnitTest tests[] = {
      TEST(ssh_and_scp), TEST(redis_benchmark), TEST(iperf3_over_tcp_and_udp), TEST(curl_over_tls), TEST(dig_over_udp),
  };
  return cmocka_run_group_tests_name("process.relay_clients", tests, nullptr, nullptr);
}
