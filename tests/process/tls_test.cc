// TLS as clients meet it: who is let in, in which version, and that no byte is lost at the ends.
#include "app/build.h"
#include "support/certificates.h"
#include "support/daemon.h"

#include <fmt/format.h>

#include <string>
#include <string_view>

#include "support/cmocka.h"  // last: it defines fail()

using namespace portolan;
using namespace portolan::testing;

namespace {

// Made once: keys take their time under sanitizers.
struct Authorities {
  Identity ours = make_authority("Our CA");
  Identity strangers = make_authority("Strangers' CA");
  Identity server = issue(ours, "server.test");
  Identity client = issue(ours, "client.test");
  Identity stranger = issue(strangers, "stranger.test");
};
const Authorities& authorities() {
  static const Authorities all;
  return all;
}

std::string configuration(const Daemon& daemon, const std::string& service_options,
                          const std::string& tls_options = "") {
  daemon.folder().write("cert.pem", authorities().server.certificate);
  daemon.folder().write("key.pem", authorities().server.key);
  daemon.folder().write("ca.pem", authorities().ours.certificate);
  const std::string folder = daemon.folder().path();
  return fmt::format(
      "return {{ services = {{ {{ plugin = 'echo', name = 'echo', listen = 'tls://127.0.0.1:0', {}, tls = "
      "{{ certificate = '{}/cert.pem', key = '{}/key.pem', {} }} }} }} }}",
      service_options, folder, folder, tls_options);
}

bool answers(Client& client) { return client.send("hello\n") && client.receive_line() == "HELLO\n"; }

void the_certificate_is_the_configured_one(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(configuration(daemon, "mode = 'lines', transform = 'upper'"));
  const ClientTls tls({.authority = authorities().ours.certificate});
  for (int round = 0; round < 10; ++round) {
    Client client(daemon.address("echo", "tls"), {.tls = tls});
    if (!client.connected()) print_error("%s\n", client.error().c_str());
    assert_true(client.connected());
    assert_string_equal(peer_name(client.tls()).c_str(), "server.test");
    assert_string_equal(SSL_get_version(client.tls()), "TLSv1.3");
    assert_true(answers(client));
  }
  assert_true(daemon.wait_for_counter("echo", "messages", 10));
}

void only_clients_of_the_authority_are_served(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(configuration(daemon, "mode = 'lines', transform = 'upper'",
                             fmt::format("client_ca = '{}'", daemon.folder().file("ca.pem"))));
  const std::string address = daemon.address("echo", "tls");
  // Over TLS 1.3 the client has finished before the server has judged: the refusal is seen on the first read.
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    const ClientTls nobody({.max_version = version});
    const ClientTls stranger({.identity = authorities().stranger, .max_version = version});
    const ClientTls member({.identity = authorities().client, .max_version = version});
    Client without(address, {.tls = nobody});
    assert_false(answers(without));
    assert_int_not_equal(without.end(), End::timed_out);
    Client wrong(address, {.tls = stranger});
    assert_false(answers(wrong));
    assert_int_not_equal(wrong.end(), End::timed_out);
    Client good(address, {.tls = member});
    assert_true(answers(good));
  }
  assert_true(daemon.wait_for_counter("echo", "refused_tls", 4));
  assert_int_equal(daemon.counter("echo", "messages"), 2);
}

void the_oldest_version_is_1_2_or_as_configured(void** state) {
  Daemon& daemon = daemon_of(state);
  const ClientTls old({.max_version = TLS1_2_VERSION});
  const ClientTls fresh;
  daemon.start(configuration(daemon, "mode = 'lines', transform = 'upper'"));
  {
    Client client(daemon.address("echo", "tls"), {.tls = old});
    assert_true(answers(client));
    assert_string_equal(SSL_get_version(client.tls()), "TLSv1.2");
  }
  assert_int_equal(daemon.stop(), 0);
  daemon.start(configuration(daemon, "mode = 'lines', transform = 'upper'", "min_version = '1.3'"));
  Client refused(daemon.address("echo", "tls"), {.tls = old});
  assert_false(refused.connected());
  assert_int_not_equal(refused.end(), End::timed_out);
  Client served(daemon.address("echo", "tls"), {.tls = fresh});
  assert_true(answers(served));
  assert_true(daemon.wait_for_counter("echo", "refused_tls", 1));
}

void check_says_what_is_wrong_with_the_files(void** state) {
  Daemon& daemon = daemon_of(state);
  const std::string file = daemon.configure(configuration(daemon, "mode = 'lines'"));
  assert_int_equal(run_portolan({"check", file}).code, 0);
  const auto complaint = [&](const char* what) {
    const CommandResult result = run_portolan({"check", file});
    print_message("%s: %s", what, (result.output + result.errors).c_str());
    assert_int_equal(result.code, 1);
    const std::string said = result.output + result.errors;
    assert_non_null(strstr(said.c_str(), "services[1].tls"));
    return said;
  };
  daemon.folder().write("key.pem", authorities().client.key);
  std::string said = complaint("another key");
  assert_non_null(strstr(said.c_str(), "key.pem"));
  assert_non_null(strstr(said.c_str(), "fit"));
  daemon.folder().write("key.pem", "nonsense\n");
  said = complaint("no key");
  assert_non_null(strstr(said.c_str(), "key.pem"));
  ::unlink(daemon.folder().file("key.pem").c_str());
  said = complaint("a missing key");
  assert_non_null(strstr(said.c_str(), "key.pem"));
  // A start refuses for the same reason.
  assert_int_equal(run_portolan({"run", "-c", file}, {.folder = daemon.folder().path()}).code, 1);
}

void a_half_close_by_close_notify_is_answered(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(configuration(daemon, "mode = 'raw'"));
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    const ClientTls tls({.max_version = version});
    Client client(daemon.address("echo", "tls"), {.tls = tls});
    std::string data(1U << 20U, '\0');
    for (std::size_t index = 0; index < data.size(); ++index) data[index] = static_cast<char>(index * 7 / 3);
    std::string back = client.exchange(data, data.size() / 2);
    assert_true(client.finish_sending());
    back += client.receive_all();
    assert_string_equal(to_text(client.end()), to_text(End::closed));  // by a close_notify of its own
    assert_true(back == data);
  }
}

void much_data_both_ways_survives(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(configuration(daemon, "mode = 'raw', output_limit = '64KiB'"));
  const ClientTls tls;
  Client client(daemon.address("echo", "tls"), {.receive_buffer = 32768, .tls = tls, .patience = Milliseconds(60'000)});
  std::string data(static_cast<std::size_t>(scaled(16, 2)) << 20U, '\0');
  std::uint32_t random = 1;
  for (char& byte : data) byte = static_cast<char>((random = random * 1664525U + 1013904223U) >> 24U);
  const std::string back = client.exchange(data, data.size());
  if (back.size() != data.size()) print_error("%s\n", client.error().c_str());
  assert_int_equal(back.size(), data.size());
  assert_true(back == data);
}

void one_byte_at_a_time_works_too(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(configuration(daemon, "mode = 'lines', transform = 'upper'"));
  const ClientTls tls;
  Client client(daemon.address("echo", "tls"), {.tls = tls});
  for (const char byte : std::string("slowly\nquit\n")) assert_true(client.send(std::string_view(&byte, 1)));
  assert_string_equal(client.receive_all().c_str(), "SLOWLY\n");
  assert_string_equal(to_text(client.end()), to_text(End::closed));
}

void plain_text_is_refused_and_counted(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(configuration(daemon, "mode = 'lines', transform = 'upper'"));
  Client client(daemon.address("echo", "tls"), {.handshake = false});
  assert_true(client.send("GET / HTTP/1.1\r\n\r\n"));
  const std::string answer = client.receive_all();
  assert_true(client.end() == End::closed || client.end() == End::reset);
  assert_null(strstr(answer.c_str(), "HTTP"));
  assert_true(daemon.wait_for_counter("echo", "refused_tls", 1));
  const ClientTls tls;
  Client good(daemon.address("echo", "tls"), {.tls = tls});
  assert_true(answers(good));
}

void many_sessions_shake_hands_at_once(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(configuration(daemon, "mode = 'lines', transform = 'upper'"));
  const ClientTls tls;
  std::vector<Client> clients;
  for (int index = 0; index < scaled(100, 10); ++index)
    clients.emplace_back(daemon.address("echo", "tls"), ClientOptions{.tls = tls});
  for (Client& client : clients) assert_true(client.send("hello\n"));
  for (Client& client : clients) assert_string_equal(client.receive_line().c_str(), "HELLO\n");
  // Some go without a word, some in order.
  for (std::size_t index = 0; index < clients.size(); ++index) {
    if (index % 2) {
      clients[index].close_with_reset();
    } else {
      clients[index].finish_sending();
      clients[index].close();
    }
  }
  assert_true(wait_until([&] { return daemon.counter("echo", "sessions_open") == 0; }));
}

// A static build has an OpenSSL of its own, which must not load what the machine's openssl.cnf names. Here the file would
// leave it without any cipher.
void a_static_build_reads_no_openssl_cnf(void** state) {
  if (std::string_view(kPortolanShape) == "dynamic") skip();
  Daemon& daemon = daemon_of(state);
  daemon.folder().write("openssl.cnf",
                        "openssl_conf = init\n[init]\nproviders = list\n[list]\nnull = on\n[on]\nactivate = 1\n");
  RunOptions options;
  options.launch.environment = {{"OPENSSL_CONF", daemon.folder().file("openssl.cnf")}};
  daemon.start(configuration(daemon, "mode = 'lines', transform = 'upper'"), options);
  const ClientTls tls({.authority = authorities().ours.certificate});
  Client client(daemon.address("echo", "tls"), {.tls = tls});
  if (!client.connected()) print_error("%s\n", client.error().c_str());
  assert_true(client.connected());
  assert_true(answers(client));
}

}  // namespace

int main() {
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_daemon, end_daemon)
  const CMUnitTest tests[] = {
      TEST(the_certificate_is_the_configured_one),
      TEST(only_clients_of_the_authority_are_served),
      TEST(the_oldest_version_is_1_2_or_as_configured),
      TEST(check_says_what_is_wrong_with_the_files),
      TEST(a_half_close_by_close_notify_is_answered),
      TEST(much_data_both_ways_survives),
      TEST(one_byte_at_a_time_works_too),
      TEST(plain_text_is_refused_and_counted),
      TEST(many_sessions_shake_hands_at_once),
      TEST(a_static_build_reads_no_openssl_cnf),
  };
  return cmocka_run_group_tests_name("process.tls", tests, nullptr, nullptr);
}
