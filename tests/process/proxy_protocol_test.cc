// Services behind proxies: whom a PROXY header makes the client, what is refused in its place, and the relay that sends it.
#include "support/certificates.h"
#include "support/daemon.h"
#include "support/database.h"

#include <fmt/format.h>

#include <openssl/bio.h>

#include <string>
#include <string_view>
#include <vector>

#include "support/cmocka.h"  // last: it defines fail()

using namespace portolan::testing;
using namespace std::string_literals;

namespace {

// So that no other timeout ends a connection within a test's patience.
constexpr const char* kPatient = "first_message_timeout = '120s', idle_timeout = '120s'";

// An echo service that answers each line with the client that it is from.
std::string service(const std::string& options, const std::string& listen = "'tcp://127.0.0.1:0'",
                    const std::string& name = "echo") {
  return fmt::format(
      "{{ plugin = 'echo', name = '{}', listen = {}, mode = 'lines', max_line = 64, {}, {},"
      " on_line = function(line, session) return line .. ' of ' .. session.peer end }}",
      name, listen, kPatient, options);
}
std::string configuration(const std::string& services, const std::string& more = "") {
  return fmt::format("return {{ {} services = {{ {} }} }}\n", more, services);
}
std::string behind_proxy(const std::string& keys = "from = '127.0.0.0/8', timeout = '120s'") {
  return "proxy_protocol = { " + keys + " }";
}

std::string line_header(const std::string& source = "192.0.2.1 198.51.100.9 1111 2222") {
  return "PROXY TCP4 " + source + "\r\n";
}
constexpr char kSignature[] = "\r\n\r\n\0\r\nQUIT\n";
std::string binary_header(std::string_view command_and_family, std::string_view content) {
  std::string header(kSignature, 12);
  header += command_and_family;
  header += static_cast<char>(content.size() >> 8U);
  header += static_cast<char>(content.size() & 0xffU);
  return header += content;
}
// From 192.0.2.1:1111 to 198.51.100.9:2222.
constexpr std::string_view kAddresses("\xc0\0\x02\x01\xc6\x33\x64\x09\x04\x57\x08\xae", 12);
std::string binary_header() { return binary_header("\x21\x11", kAddresses); }
constexpr const char* kSource = "192.0.2.1:1111";

// What the service says to a line behind this header.
std::string answer(Client& client, const std::string& header, const std::string& line = "hello") {
  return client.send(header + line + "\n") ? client.receive_line() : "";
}
std::string answer(Daemon& daemon, const std::string& header) {
  Client client(daemon.address("echo"));
  return answer(client, header);
}
void assert_text(const std::string& found, const std::string& wanted) {
  assert_string_equal(found.c_str(), wanted.c_str());
}
void assert_refused(Client& client) {
  assert_text(client.receive_all(), "");
  assert_true(client.end() == End::closed || client.end() == End::reset);
}
std::string address_of(Client& client, const std::string& host = "127.0.0.1") {
  return fmt::format("{}:{}", host, client.local_port());
}

// ---- In ------------------------------------------------------------------------------------------------------

void both_versions_tell_the_client_however_they_are_cut(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(configuration(service(behind_proxy())));
  for (const std::string& header : {line_header(), binary_header()}) {
    const std::string all = header + "hello\n";
    for (std::size_t cut = 0; cut <= all.size(); ++cut) {
      Client client(daemon.address("echo"));
      assert_true(client.send(all.substr(0, cut)) && client.send(all.substr(cut)));
      assert_text(client.receive_line(), "hello of "s + kSource + "\n");
    }
    Client slow(daemon.address("echo"));
    for (const char byte : all) assert_true(slow.send({&byte, 1}));
    assert_text(slow.receive_line(), "hello of "s + kSource + "\n");
    assert_text(answer(slow, "", "again"), "again of "s + kSource + "\n");
  }
  assert_text(answer(daemon, "PROXY TCP6 2001:db8::1 2001:db8::2 1 2\r\n"), "hello of [2001:db8::1]:1\n");
  assert_int_equal(daemon.counter("echo", "refused_bad_message"), 0);
}

void local_and_unknown_keep_the_real_client(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(configuration(service(behind_proxy())));
  const std::string local = binary_header("\x20\x11", kAddresses);
  const std::string unspecified = binary_header(std::string_view("\x21\0", 2), "whatever it is");
  for (const std::string& header : {"PROXY UNKNOWN\r\n"s, "PROXY UNKNOWN 192.0.2.1 192.0.2.2 1 2\r\n"s, local,
                                    unspecified, binary_header(std::string_view("\x20\0", 2), "")}) {
    Client client(daemon.address("echo"), {.source = "127.0.0.5"});
    assert_text(answer(client, header), "hello of " + address_of(client, "127.0.0.5") + "\n");
  }
  // A connection without a byte, as proxies make to look whether somebody listens, is nobody's session.
  Client looks(daemon.address("echo"));
  assert_true(looks.finish_sending());
  assert_refused(looks);
  assert_true(wait_until([&] { return daemon.counter("echo", "sessions_open") == 0; }));
  assert_int_equal(daemon.counter("echo", "sessions"), 5);
  for (const char* none : {"refused_bad_message", "sessions_failed"}) assert_true(daemon.counter("echo", none) <= 0);
}

void what_is_no_header_is_refused(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(configuration(service(behind_proxy("from = { '127.0.0.1' }, timeout = '120s'"))));
  std::string wrong_crc = binary_header("\x21\x11", std::string(kAddresses) + "\x03"s + "\0\4abcd"s);
  std::string too_long = binary_header("\x21\x11", std::string(kAddresses) + "\4\2\2"s + std::string(514, 'x'));
  const std::vector<std::string> hostile = {
      "hello\n",
      "GET / HTTP/1.1\r\n\r\n",
      "PROXY TCP4 192.0.2.1 198.51.100.9 1111 2222\n",
      "PROXY TCP4 192.0.2.1 198.51.100.9 1111 65536\r\n",
      "PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n",
      "PROXY UNKNOWN " + std::string(94, 'x') + "\r\n",
      binary_header("\x31\x11", kAddresses),
      binary_header("\x21\x11", kAddresses.substr(1)),
      wrong_crc,
      too_long,
      too_long.substr(0, 16),
  };
  for (const std::string& bytes : hostile) {
    Client client(daemon.address("echo"));
    assert_true(client.send(bytes));
    assert_refused(client);
  }
  Client cut_off(daemon.address("echo"));
  assert_true(cut_off.send(binary_header().substr(0, 20)) && cut_off.finish_sending());
  assert_refused(cut_off);
  assert_true(daemon.wait_for_counter("echo", "refused_bad_message", static_cast<long>(hostile.size()) + 1));
  assert_int_equal(daemon.counter("echo", "sessions"), 0);
  assert_true(daemon.log_has("is refused: the PROXY header "));

  assert_true(wait_until([&] { return daemon.counter("echo", "sessions_open") == 0; }));
  daemon.configure(configuration(service(behind_proxy("from = '127.0.0.1', max_size = '1KiB'"))));
  assert_int_equal(daemon.command({"reload"}).code, 0);
  assert_text(answer(daemon, too_long), "hello of "s + kSource + "\n");
}

void who_is_no_proxy_is_refused_at_once(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(configuration(service(behind_proxy("from = { '127.0.0.2', '10.0.0.0/8' }, timeout = '120s'"),
                                     "{ 'tcp://127.0.0.1:0', 'unix://echo.sock' }")));
  Client stranger(daemon.address("echo"), {.source = "127.0.0.3"});
  assert_refused(stranger);
  Client liar(daemon.address("echo"), {.source = "127.0.0.3"});
  liar.send(line_header("127.0.0.2 127.0.0.1 1 2") + "hello\n");
  assert_refused(liar);
  Client beside(daemon.address("echo", "unix"));
  assert_refused(beside);
  assert_true(daemon.wait_for_counter("echo", "refused_bad_message", 3));
  assert_true(daemon.log_has("a connection of 127.0.0.3 is refused: it is not in proxy_protocol.from"));
  Client proxy(daemon.address("echo"), {.source = "127.0.0.2"});
  assert_text(answer(proxy, line_header()), "hello of "s + kSource + "\n");

  daemon.configure(configuration(service(behind_proxy("from = 'unix'"), "'unix://echo.sock'")));
  assert_int_equal(daemon.command({"reload"}).code, 0);
  Client local(daemon.address("echo", "unix"));
  assert_text(answer(local, binary_header()), "hello of "s + kSource + "\n");
}

void a_header_has_its_own_time(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(configuration(service(behind_proxy("from = '127.0.0.1', timeout = '300ms'")),
                             "bans = { violations = 1, never = {} },"));
  Client silent(daemon.address("echo"));
  Client half(daemon.address("echo"));
  assert_true(half.send(line_header().substr(0, 20)));
  for (Client* client : {&silent, &half}) assert_refused(*client);
  assert_true(daemon.wait_for_counter("echo", "refused_first_message_timeout", 2));
  assert_true(daemon.log_has("its PROXY header did not come in time"));
  // It is the proxy's fault, and not a ban of all its clients. Behind the header the time is that of the first message.
  assert_true(wait_until([&] {  // the second time when this machine was too slow for the header
    Client late(daemon.address("echo"));
    late.send(line_header());
    let_pass(Milliseconds(700));
    return answer(late, "") == "hello of "s + kSource + "\n";
  }));
}

void limits_and_records_are_about_the_client_of_the_header(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(configuration(service(behind_proxy() + ", max_sessions_per_client = 1"),
                             "bans = { violations = 2, never = {} },"));
  Client first(daemon.address("echo"));
  assert_text(answer(first, binary_header()), "hello of "s + kSource + "\n");
  const Json sessions = daemon.query({"sessions"})["sessions"];
  assert_int_equal(sessions.size(), 1);
  assert_text(sessions[0]["peer"].get<std::string>(), kSource);
  Client second(daemon.address("echo"));
  second.send(line_header("192.0.2.1 198.51.100.9 7 8") + "hello\n");
  assert_refused(second);
  assert_true(daemon.wait_for_counter("echo", "refused_max_sessions_per_client", 1));
  assert_text(answer(daemon, line_header("192.0.2.2 198.51.100.9 7 8")), "hello of 192.0.2.2:7\n");

  // 192.0.2.3 is banned for its lines; the proxy and its other clients are not, whatever it sends in place of a header.
  for (int time = 0; time < 2; ++time) {
    Client client(daemon.address("echo"));
    client.send(line_header("192.0.2.3 198.51.100.9 7 8") + std::string(200, 'x') + "\n");
    client.receive_all();
    Client junk(daemon.address("echo"));
    junk.send("junk\n");
    assert_refused(junk);
  }
  const Json bans = daemon.query({"bans"})["bans"];
  assert_int_equal(bans.size(), 1);
  assert_text(bans[0]["address"].get<std::string>(), "192.0.2.3");
  Client banned(daemon.address("echo"));
  banned.send(line_header("192.0.2.3 198.51.100.9 7 8") + "hello\n");
  assert_refused(banned);
  assert_true(daemon.wait_for_counter("echo", "refused_banned", 1));
  assert_text(answer(daemon, line_header("192.0.2.4 198.51.100.9 7 8")), "hello of 192.0.2.4:7\n");

  first.close();
  assert_true(wait_until([&] { return daemon.counter("echo", "sessions_open") == 0; }));
  assert_int_equal(daemon.stop(), 0);
  // Neither what had no header nor who was not let in is a session.
  assert_text(ask_database(daemon.store_path(),
                           "select group_concat(peer, ' ') from (select peer from sessions order by peer)"),
              "192.0.2.1:1111 192.0.2.2:7 192.0.2.3:7 192.0.2.3:7 192.0.2.4:7");
}

void a_connection_without_its_header_takes_a_place(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(configuration(service(behind_proxy() + ", max_sessions = 1")));
  Client waits(daemon.address("echo"));
  assert_true(wait_until([&] { return daemon.counter("echo", "sessions_open") == 1; }));
  Client other(daemon.address("echo"));
  assert_refused(other);
  assert_true(daemon.wait_for_counter("echo", "refused_max_sessions", 1));
  assert_text(answer(waits, line_header()), "hello of "s + kSource + "\n");
  waits.close();
  assert_true(wait_until([&] { return answer(daemon, line_header()) == "hello of "s + kSource + "\n"; }));
}

void a_reload_and_a_stop_find_half_a_header(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(configuration(service(behind_proxy())));
  Client half(daemon.address("echo"));
  assert_true(half.send(binary_header().substr(0, 13)));
  Client silent(daemon.address("echo"));
  assert_true(wait_until([&] { return daemon.counter("echo", "sessions_open") == 2; }));
  daemon.configure(configuration(service("quit = true")));
  assert_int_equal(daemon.command({"reload"}).code, 0);
  Client direct(daemon.address("echo"));
  assert_text(answer(direct, ""), "hello of " + address_of(direct) + "\n");
  assert_text(answer(half, binary_header().substr(13)), "hello of "s + kSource + "\n");
  assert_int_equal(daemon.stop(), 0);
  assert_refused(silent);
}

// ---- With TLS behind -----------------------------------------------------------------------------------------

std::string server_certificate(const Daemon& daemon) {
  static const Identity authority = make_authority("Our CA");
  static const Identity server = issue(authority, "server.test");
  return fmt::format("tls = {{ certificate = '{}', key = '{}' }}",
                     daemon.folder().write("cert.pem", server.certificate),
                     daemon.folder().write("key.pem", server.key));
}

// A client of TLS whose first bytes leave together with a header. Owned by one test; blocks as Client does.
class HeaderThenTls {
 public:
  HeaderThenTls(Client& client, std::string header, const char* host = nullptr)
      : client_(client), to_send_(std::move(header)) {
    ssl_ = SSL_new(context_);
    SSL_set_bio(ssl_, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
    SSL_set_connect_state(ssl_);
    if (host) SSL_set_tlsext_host_name(ssl_, host);
  }
  ~HeaderThenTls() { SSL_free(ssl_); }
  HeaderThenTls(const HeaderThenTls&) = delete;
  HeaderThenTls& operator=(const HeaderThenTls&) = delete;

  std::string exchange(const std::string& line, std::string_view until = "\n") {
    if (!drive([&] { return SSL_do_handshake(ssl_); })) return "no handshake";
    if (!drive([&] { return SSL_write(ssl_, line.data(), static_cast<int>(line.size())); })) return "not written";
    std::string got;
    char byte = 0;
    while (!got.ends_with(until) && drive([&] { return SSL_read(ssl_, &byte, 1); })) got += byte;
    return got;
  }

 private:
  template <typename Operation>
  bool drive(Operation operation) {
    for (;;) {
      const int result = operation();
      char buffer[4096];
      for (int count = 0; (count = BIO_read(SSL_get_wbio(ssl_), buffer, sizeof buffer)) > 0;)
        to_send_.append(buffer, static_cast<std::size_t>(count));
      if (!to_send_.empty() && !client_.send(to_send_)) return false;
      to_send_.clear();
      if (result > 0) return true;
      if (SSL_get_error(ssl_, result) != SSL_ERROR_WANT_READ) return false;
      const std::string got = client_.receive(1);
      if (got.empty()) return false;
      BIO_write(SSL_get_rbio(ssl_), got.data(), 1);
    }
  }

  Client& client_;
  ClientTls context_;
  SSL* ssl_;
  std::string to_send_;
};

void the_header_comes_before_tls(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(configuration(service(behind_proxy() + ", " + server_certificate(daemon), "'tls://127.0.0.1:0'")));
  const std::string address = "tcp" + daemon.address("echo", "tls").substr(3);
  for (const std::string& header : {line_header(), binary_header()}) {
    Client client(address);
    HeaderThenTls tls(client, header);
    assert_text(tls.exchange("hello\n"), "hello of "s + kSource + "\n");
  }
  Client without(address);
  HeaderThenTls tls(without, "");
  assert_text(tls.exchange("hello\n"), "no handshake");
  assert_true(daemon.wait_for_counter("echo", "refused_bad_message", 1));
}

// ---- Out -----------------------------------------------------------------------------------------------------

std::string relay(const std::string& backend, const std::string& options, const std::string& name,
                  const std::string& scheme = "tcp") {
  return fmt::format("{{ plugin = 'relay', name = '{}', listen = '{}://127.0.0.1:0', backends = {}, {} }}", name,
                     scheme, backend, options);
}

// The relay and its backend are two daemons: the second is told the ports of the first.
struct TwoDaemons {
  Daemon backend;
  Daemon relay;
};
int make_two(void** state) {
  *state = new TwoDaemons;
  return 0;
}
int end_two(void** state) {
  auto* two = static_cast<TwoDaemons*>(*state);
  const std::string wrong = two->relay.end() + two->backend.end();
  if (!wrong.empty()) print_error("%s\n", wrong.c_str());
  delete two;
  return wrong.empty() ? 0 : -1;
}

void a_relay_tells_its_backends_the_client(void** state) {
  auto& [backend, front] = *static_cast<TwoDaemons*>(*state);
  backend.start(
      configuration(service(behind_proxy()) + ", " +
                    service(behind_proxy() + ", " + server_certificate(backend), "'tls://127.0.0.1:0'", "secret")));
  const std::string plain = backend.address("echo");
  const std::string secret = fmt::format("{{ address = '{}', send_proxy = 'v1', tls = {{ verify = false }} }}",
                                         backend.address("secret", "tls"));
  front.start(configuration(
      relay("'" + plain + "'", "send_proxy = 'v1'", "v1") + ", " + relay("'" + plain + "'", "send_proxy = 'v2'", "v2") +
      ", " + relay("'" + plain + "'", "send_proxy = 'v2', proxy_crc = true", "crc") + ", " +
      relay(secret, "send_proxy = 'v2'", "tls") + ", " + relay("'" + plain + "'", "send_proxy = 'none'", "none")));
  for (const char* name : {"v1", "v2", "crc", "tls"}) {
    Client client(front.address(name), {.source = "127.0.0.6"});
    assert_text(answer(client, ""), "hello of " + address_of(client, "127.0.0.6") + "\n");
  }
  Client without(front.address("none"));
  without.send("hello\n");
  assert_refused(without);
  assert_true(backend.wait_for_counter("echo", "refused_bad_message", 1));
}

void a_relay_behind_a_proxy_passes_on_what_it_was_told(void** state) {
  auto& [backend, front] = *static_cast<TwoDaemons*>(*state);
  // It sends back what it is sent: the header, too.
  backend.start(configuration("{ plugin = 'echo', name = 'mirror', listen = 'tcp://127.0.0.1:0' }"));
  const std::string mirror = "'" + backend.address("mirror") + "'";
  front.start(configuration(
      relay(mirror, "send_proxy = 'v1', " + behind_proxy(), "v1") + ", " +
      relay(mirror, "send_proxy = 'v2', " + behind_proxy(), "v2") + ", " +
      relay(mirror, "send_proxy = 'v2', " + behind_proxy() + ", " + server_certificate(front), "terminates", "tls")));
  const std::string data(static_cast<std::size_t>(scaled(4'000'000, 400'000)), 'x');
  Client one(front.address("v1"));
  assert_true(one.exchange(binary_header() + data, line_header().size() + data.size()) == line_header() + data);
  Client two(front.address("v2"));
  assert_true(two.exchange(line_header() + data, binary_header().size() + data.size()) == binary_header() + data);
  const std::string with_name = binary_header("\x21\x11", std::string(kAddresses) + "\x02\0\x07"s + "nas.lan");
  Client three("tcp" + front.address("terminates", "tls").substr(3));
  HeaderThenTls tls(three, line_header(), "nas.lan");
  assert_true(tls.exchange("hello\n", "hello\n") == with_name + "hello\n");
  Client own(front.address("v2"));
  assert_true(own.send("PROXY UNKNOWN\r\n"));
  const std::string header = own.receive(28);
  assert_true(header.starts_with(std::string(kSignature, 12) + "\x21\x11"));
  assert_true(header.substr(16, 8) == "\x7f\0\0\x01\x7f\0\0\x01"s);
}

}  // namespace

int main() {
#define TEST(f) cmocka_unit_test_setup_teardown(f, make_daemon, end_daemon)
#define TEST_OF_TWO(f) cmocka_unit_test_setup_teardown(f, make_two, end_two)
  const CMUnitTest tests[] = {
      TEST(both_versions_tell_the_client_however_they_are_cut),
      TEST(local_and_unknown_keep_the_real_client),
      TEST(what_is_no_header_is_refused),
      TEST(who_is_no_proxy_is_refused_at_once),
      TEST(a_header_has_its_own_time),
      TEST(limits_and_records_are_about_the_client_of_the_header),
      TEST(a_connection_without_its_header_takes_a_place),
      TEST(a_reload_and_a_stop_find_half_a_header),
      TEST(the_header_comes_before_tls),
      TEST_OF_TWO(a_relay_tells_its_backends_the_client),
      TEST_OF_TWO(a_relay_behind_a_proxy_passes_on_what_it_was_told),
  };
  return cmocka_run_group_tests(tests, nullptr, nullptr);
}
