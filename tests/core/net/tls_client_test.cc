// Both sides of TLS over a pair of sockets: which servers a client accepts, and what it says of the others.
#include "net/tls_client.h"

#include "base/clock.h"
#include "net/tls.h"
#include "support/certificates.h"
#include "support/temporary_folder.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "support/cmocka.h"  // last: it has a macro named fail

using namespace portolan;
using namespace portolan::testing;
using Outcome = TlsSession::Outcome;

namespace {

constexpr std::int64_t kDay = 86'400;

bool under_way(Outcome outcome) { return outcome == Outcome::want_read || outcome == Outcome::want_write; }

// A connection, both ends driven by turns.
struct Connection {
  Connection() { assert_int_equal(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0); }
  ~Connection() {
    client.reset();
    server.reset();
    ::close(ends[0]);
    ::close(ends[1]);
  }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  void shake_hands() {
    for (int round = 0; round < 50 && (under_way(client_came_to) || under_way(server_came_to)); ++round) {
      if (under_way(client_came_to)) client_came_to = client->handshake().outcome;
      if (under_way(server_came_to)) server_came_to = server->handshake().outcome;
    }
  }
  // What `to` reads of what `from` says; an error is its own text.
  static std::string say(TlsSession& from, TlsSession& to, std::string_view text) {
    from.write(std::as_bytes(std::span(text)));
    std::byte buffer[256];
    const auto got = to.read(buffer);
    if (got.outcome != Outcome::done) return to.error();
    return {reinterpret_cast<const char*>(buffer), got.bytes};
  }
  // "ok", or what the client has to say: of the handshake, or of the first answer, since a server of TLS 1.3 refuses a
  // client only after that one's handshake is done.
  std::string verdict() {
    if (client_came_to == Outcome::done && server_came_to == Outcome::done && say(*client, *server, "ping") == "ping" &&
        say(*server, *client, "pong") == "pong")
      return "ok";
    if (client->error().empty()) {
      std::byte buffer[16];
      client->read(buffer);
    }
    return client->error();
  }

  int ends[2] = {-1, -1};
  std::unique_ptr<TlsSession> server, client;
  Outcome client_came_to = Outcome::want_read, server_came_to = Outcome::want_read;
};

struct Fixture {
  TemporaryFolder folder;
  Identity authority = make_authority("Our CA");
  TlsClientOptions options;
  TlsOptions server_options;
  int files = 0;

  Fixture() {
    options.ca = folder.write("ca.pem", authority.certificate);
    serve(issue_for(authority, "nas.lan", "DNS:nas.lan,DNS:*.home.arpa,IP:192.0.2.1,IP:2001:db8::1"));
  }
  std::string file(const std::string& content) { return folder.write(std::to_string(++files) + ".pem", content); }
  void serve(const Identity& identity, const std::string& chain = {}) {
    server_options.certificate = file(identity.certificate + chain);
    server_options.key = file(identity.key);
  }
  void show(const Identity& identity) {
    options.certificate = file(identity.certificate);
    options.key = file(identity.key);
  }
  std::shared_ptr<const TlsClientContext> client_context() const {
    auto made = TlsClientContext::make(options);
    if (!made) fail_msg("%s", made.error().c_str());
    return *made;
  }
  std::shared_ptr<const TlsContext> server_context() const {
    auto made = TlsContext::make(server_options);
    if (!made) fail_msg("%s", made.error().c_str());
    return *made;
  }
  // What comes of dialing it by this name.
  std::string dial(std::string_view name) const { return dial(name, *client_context(), *server_context()); }
  static std::string dial(std::string_view name, const TlsClientContext& client, const TlsContext& server,
                          bool* resumed = nullptr) {
    Connection connection;
    connection.client = TlsSession::connect(client, connection.ends[0], name);
    connection.server = TlsSession::accept(server, connection.ends[1]);
    connection.shake_hands();
    const std::string verdict = connection.verdict();
    if (resumed) *resumed = connection.client->resumed();
    connection.client->shutdown();
    return verdict;
  }
  // The name that the server sees a client ask for.
  std::string asked_for(std::string_view name) const {
    Connection connection;
    connection.client = TlsSession::connect(*client_context(), connection.ends[0], name);
    connection.server = TlsSession::accept(*server_context(), connection.ends[1]);
    connection.shake_hands();
    return std::string(connection.server->server_name());
  }
};

int set_up(void** state) {
  *state = new Fixture;
  return 0;
}
int tear_down(void** state) {
  delete static_cast<Fixture*>(*state);
  return 0;
}
Fixture& of(void** state) { return *static_cast<Fixture*>(*state); }

void assert_text(const std::string& actual, const std::string& expected) {
  assert_string_equal(actual.c_str(), expected.c_str());
}
void assert_part(const std::string& whole, const std::string& part) {
  if (whole.find(part) == std::string::npos) fail_msg("\"%s\" is not in \"%s\"", part.c_str(), whole.c_str());
}
std::string day(std::int64_t seconds) { return iso_time(seconds).substr(0, 10); }

// ---- Names ---------------------------------------------------------------------------------------------------

void names_and_addresses_of_the_certificate_are_accepted(void** state) {
  Fixture& f = of(state);
  for (const char* name :
       {"nas.lan", "NAS.lan", "nas.lan.", "printer.home.arpa", "192.0.2.1", "2001:db8::1", "2001:0db8:0:0::1"})
    assert_text(f.dial(name), "ok");
}

void other_names_are_refused(void** state) {
  Fixture& f = of(state);
  f.serve(issue_for(f.authority, "x", "DNS:other.lan"));
  assert_text(f.dial("nas.lan"), "the certificate is for \"other.lan\", not for \"nas.lan\"");
  f.serve(issue_for(f.authority, "x", "DNS:*.lan,DNS:f*o.lan,IP:192.0.2.1,IP:2001:db8::1,DNS:z.lan"));
  assert_text(f.dial("lan"),
              "the certificate is for \"*.lan\", \"f*o.lan\", \"192.0.2.1\" and 2 more, not for \"lan\"");
  assert_part(f.dial("a.b.lan"), "not for \"a.b.lan\"");
  assert_part(f.dial("192.0.2.2"), "not for \"192.0.2.2\"");
  f.serve(issue_for(f.authority, "x", "DNS:f*.home.arpa"));
  assert_part(f.dial("foo.home.arpa"), "not for \"foo.home.arpa\"");
  // An address is not a name, whatever the certificate says; and what it says is made printable.
  f.serve(issue_for(f.authority, "192.0.2.1", "DNS:192.0.2.1"));
  assert_text(f.dial("192.0.2.1"), "the certificate is for \"192.0.2.1\", not for \"192.0.2.1\"");
  f.serve(issue_for(f.authority, "bad\n\"name", "email:a@b"));
  assert_text(f.dial("nas.lan"), "the certificate is for \"bad??name\", not for \"nas.lan\"");
}

void a_name_of_the_configuration_stands_for_what_is_dialed(void** state) {
  Fixture& f = of(state);
  assert_text(f.asked_for("nas.lan."), "nas.lan");
  assert_text(f.asked_for("192.0.2.1"), "");
  assert_text(f.asked_for("2001:db8::1"), "");
  assert_part(f.dial(""), "give tls.name, or verify = false");
  f.options.name = "nas.lan";
  assert_text(f.asked_for("192.0.2.9"), "nas.lan");
  for (const char* dialed : {"192.0.2.9", "other.lan", ""}) assert_text(f.dial(dialed), "ok");
  f.options.name = "192.0.2.9";
  assert_part(f.dial("nas.lan"), "not for \"192.0.2.9\"");
}

// ---- Authorities and times -----------------------------------------------------------------------------------

void strangers_are_refused_with_what_to_do(void** state) {
  Fixture& f = of(state);
  const std::string untrusted =
      "the certificate was issued by an authority that is not trusted: give its certificate as tls.ca, or pin it";
  const Identity stranger = issue(make_authority("Strangers"), "nas.lan");
  f.serve(stranger);
  assert_text(f.dial("nas.lan"), untrusted + " with verify = false and pins = \"" + public_key_pin(stranger) + "\"");
  f.serve(issue(make_authority("Our CA"), "nas.lan"));  // of the same name, with another key
  assert_part(f.dial("nas.lan"), untrusted);
  f.serve(make_authority("nas.lan"));
  assert_part(f.dial("nas.lan"), "the certificate is self-signed and not trusted: give it as tls.ca, or pin it");
  // Whatever is in the file is trusted: the server's own certificate will do.
  f.serve(stranger);
  f.options.ca = f.file(stranger.certificate);
  assert_text(f.dial("nas.lan"), "ok");
  assert_part(f.dial("other.lan"), "not for \"other.lan\"");
}

void authorities_in_between_are_sent_or_given(void** state) {
  Fixture& f = of(state);
  const Identity between = issue_authority(f.authority, "Between");
  const Identity leaf = issue(between, "nas.lan");
  f.serve(leaf, between.certificate);
  assert_text(f.dial("nas.lan"), "ok");
  f.serve(leaf);
  assert_part(f.dial("nas.lan"), "an authority that is not trusted");
  f.options.ca = f.file(between.certificate);
  assert_text(f.dial("nas.lan"), "ok");
  // Who is no authority cannot issue.
  f.options.ca = f.file(f.authority.certificate);
  f.serve(issue(leaf, "nas.lan"), leaf.certificate + between.certificate);
  assert_true(f.dial("nas.lan") != "ok");
}

void those_out_of_their_time_are_refused_by_date(void** state) {
  Fixture& f = of(state);
  const std::int64_t now = unix_ms() / 1000;
  f.serve(issue(f.authority, "nas.lan", {now - 9 * kDay, now - 2 * kDay}));
  assert_text(f.dial("nas.lan"), "the certificate expired on " + day(now - 2 * kDay) + ": renew it");
  f.serve(issue(f.authority, "nas.lan", {4'300'000'000, 4'300'000'000 + kDay}));
  assert_part(f.dial("nas.lan"), "the certificate is valid from 2106-04-06 on, and here it is ");
  f.serve(issue(f.authority, "nas.lan", {now - kDay, 4'300'000'000}));
  assert_text(f.dial("nas.lan"), "ok");
  const Identity old = issue_authority(f.authority, "Old", {now - 9 * kDay, now - 3 * kDay});
  f.serve(issue(old, "nas.lan"), old.certificate);
  assert_text(f.dial("nas.lan"),
              "the certificate of the authority \"Old\" expired on " + day(now - 3 * kDay) + ": renew it");
}

void the_authorities_of_the_system_serve_when_none_are_given(void** state) {
  Fixture& f = of(state);
  ::setenv("SSL_CERT_FILE", f.options.ca.c_str(), 1);
  ::setenv("SSL_CERT_DIR", f.folder.file("none").c_str(), 1);
  f.options.ca.clear();
  assert_text(f.dial("nas.lan"), "ok");
  ::setenv("SSL_CERT_FILE", f.folder.file("none.pem").c_str(), 1);
  const auto made = TlsClientContext::make(f.options);
  assert_false(made.has_value());
  assert_part(made.error(), "install ca-certificates, or give tls.ca");
  f.options.verify = false;  // then none are needed
  assert_text(f.dial("nas.lan"), "ok");
  ::unsetenv("SSL_CERT_FILE");
  ::unsetenv("SSL_CERT_DIR");
}

// ---- Pins ----------------------------------------------------------------------------------------------------

void pins_are_compared_with_and_without_verification(void** state) {
  Fixture& f = of(state);
  const Identity leaf = issue(f.authority, "nas.lan");
  const Identity other = issue(f.authority, "nas.lan");
  const std::string wrong = "the public key is not one of the pinned ones; it is " + public_key_pin(leaf);
  f.serve(leaf);
  for (const bool verify : {true, false}) {
    f.options.verify = verify;
    f.options.pins = {public_key_pin(other)};
    assert_text(f.dial("nas.lan"), wrong);
    f.options.pins.push_back(public_key_pin(leaf).substr(7));  // without "sha256/"
    assert_text(f.dial("nas.lan"), "ok");
    // The server's own, not an authority's.
    f.options.pins = {public_key_pin(f.authority)};
    assert_text(f.dial("nas.lan"), wrong);
  }
  f.serve(issue(make_authority("Strangers"), "other.lan", {1'000'000'000, 1'000'000'001}));
  f.options.pins.clear();
  assert_text(f.dial("nas.lan"), "ok");
  f.options.verify = true;
  f.options.pins = {public_key_pin(leaf)};
  f.serve(leaf);
  assert_part(f.dial("other.lan"), "not for \"other.lan\"");  // a pin does not replace the rest
}

// ---- The client's certificate --------------------------------------------------------------------------------

void a_certificate_is_shown_to_who_asks(void** state) {
  Fixture& f = of(state);
  f.show(issue(f.authority, "a client"));
  assert_text(f.dial("nas.lan"), "ok");  // this one does not ask
  f.server_options.client_ca = f.file(f.authority.certificate);
  assert_text(f.dial("nas.lan"), "ok");
  f.show(issue(make_authority("Strangers"), "a stranger"));
  assert_part(f.dial("nas.lan"), "the peer does not trust the authority of our certificate");
  f.show(issue(f.authority, "of yesterday", {1'000'000'000, 1'000'000'001}));
  assert_part(f.dial("nas.lan"), "the peer finds our certificate expired");
  f.options.certificate = f.options.key = "";
  assert_text(f.dial("nas.lan"), "the peer wants a certificate of ours: give tls.certificate and tls.key");
}

// ---- What else goes wrong ------------------------------------------------------------------------------------

void options_that_cannot_work_are_refused(void** state) {
  Fixture& f = of(state);
  const Identity leaf = issue(f.authority, "nas.lan");
  const std::string pem = f.file(leaf.certificate), key = f.file(leaf.key), none = f.folder.file("none.pem");
  const std::string other_key = f.file(issue(f.authority, "x").key), text = f.file("no PEM\n");
  const struct {
    TlsClientOptions options;
    const char* says;
  } cases[] = {
      {{.ca = none}, "cannot read the CA"},
      {{.ca = text}, "is not a PEM certificate"},
      {{.certificate = none, .verify = false}, "cannot read the certificate"},
      {{.certificate = pem, .key = none, .verify = false}, "cannot read the key"},
      {{.certificate = pem, .key = other_key, .verify = false}, "does not fit the certificate"},
      {{.key = key, .verify = false}, "tls.key is given without tls.certificate"},
      {{.name = "two words", .verify = false}, "tls.name: \"two words\" is neither"},
      {{.pins = {"sha256/AAAA"}}, "tls.pins: \"sha256/AAAA\" is not"},
      {{.pins = {std::string(44, 'A')}}, "44 characters"},
      {{.pins = {std::string(42, 'A') + "=="}}, "44 characters"},
      {{.pins = {std::string(42, '-') + "A="}}, "44 characters"},
  };
  for (const auto& wrong : cases) {
    const auto made = TlsClientContext::make(wrong.options);
    assert_false(made.has_value());
    assert_part(made.error(), wrong.says);
  }
}

void what_is_no_tls_is_told_so(void** state) {
  Fixture& f = of(state);
  const auto context = f.client_context();
  for (const bool closes : {false, true}) {
    Connection connection;
    connection.client = TlsSession::connect(*context, connection.ends[0], "nas.lan");
    assert_true(under_way(connection.client->handshake().outcome));
    if (closes) {
      ::shutdown(connection.ends[1], SHUT_WR);
      const Outcome outcome = connection.client->handshake().outcome;
      assert_true(outcome == Outcome::closed || outcome == Outcome::failed);
    } else {
      assert_true(::write(connection.ends[1], "220 mail.lan ESMTP\r\n", 20) == 20);
      assert_int_equal(connection.client->handshake().outcome, Outcome::failed);
      assert_text(connection.client->error(), "the peer does not speak TLS: look at the port");
    }
  }
}

// A server of OpenSSL's own that stops at TLS 1.2.
void versions_below_the_least_are_refused(void** state) {
  Fixture& f = of(state);
  const std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)> old(SSL_CTX_new(TLS_server_method()), SSL_CTX_free);
  SSL_CTX_set_max_proto_version(old.get(), TLS1_2_VERSION);
  SSL_CTX_use_certificate_chain_file(old.get(), f.server_options.certificate.c_str());
  SSL_CTX_use_PrivateKey_file(old.get(), f.server_options.key.c_str(), SSL_FILETYPE_PEM);
  for (const int least : {12, 13}) {
    f.options.min_version = least;
    const auto context = f.client_context();
    for (const bool again : {false, true}) {
      Connection connection;
      connection.client = TlsSession::connect(*context, connection.ends[0], "nas.lan");
      SSL* const server = SSL_new(old.get());
      SSL_set_fd(server, connection.ends[1]);
      SSL_set_accept_state(server);
      for (int round = 0; round < 50 && under_way(connection.client_came_to); ++round) {
        connection.client_came_to = connection.client->handshake().outcome;
        SSL_do_handshake(server);
      }
      SSL_free(server);
      assert_int_equal(connection.client_came_to, least == 12 ? Outcome::done : Outcome::failed);
      if (least == 12) assert_int_equal(connection.client->resumed(), again);
      if (least == 13) assert_part(connection.client->error(), "lower tls.min_version, or update the peer");
    }
  }
}

// ---- Continued sessions --------------------------------------------------------------------------------------

void sessions_are_continued_for_the_same_name_only(void** state) {
  Fixture& f = of(state);
  const auto client = f.client_context();
  const auto server = f.server_context();
  bool resumed = true;
  assert_text(Fixture::dial("nas.lan", *client, *server, &resumed), "ok");
  assert_false(resumed);
  for (int i = 0; i < 20; ++i) {
    assert_text(Fixture::dial("nas.lan", *client, *server, &resumed), "ok");
    assert_true(resumed);
  }
  // A ticket of the name that was verified would let any other pass.
  assert_part(Fixture::dial("other.lan", *client, *server, &resumed), "not for \"other.lan\"");
  assert_false(resumed);
  assert_text(Fixture::dial("192.0.2.1", *client, *server, &resumed), "ok");
  assert_false(resumed);
  // A server that has forgotten its tickets, or is another one, is verified again.
  assert_text(Fixture::dial("nas.lan", *client, *f.server_context(), &resumed), "ok");
  assert_false(resumed);
  f.serve(issue(make_authority("Strangers"), "nas.lan"));
  assert_part(Fixture::dial("nas.lan", *client, *f.server_context(), &resumed), "an authority that is not trusted");
}

void a_session_outlives_its_context(void** state) {
  Fixture& f = of(state);
  Connection connection;
  connection.client = TlsSession::connect(*f.client_context(), connection.ends[0], "nas.lan");
  connection.server = TlsSession::accept(*f.server_context(), connection.ends[1]);
  connection.shake_hands();
  assert_text(connection.verdict(), "ok");
  connection.client->shutdown();
  std::byte buffer[16];
  assert_int_equal(connection.server->read(buffer).outcome, Outcome::closed);
}

void workers_share_a_context(void** state) {
  Fixture& f = of(state);
  const auto client = f.client_context();
  const auto server = f.server_context();
  int right[4] = {};
  std::vector<std::thread> workers;
  for (int& count : right) {
    workers.emplace_back([&] {
      for (int i = 0; i < 25; ++i) count += Fixture::dial(i % 2 ? "nas.lan" : "192.0.2.1", *client, *server) == "ok";
    });
  }
  for (std::thread& worker : workers) worker.join();
  for (const int count : right) assert_int_equal(count, 25);
}

}  // namespace

int main() {
  std::signal(SIGPIPE, SIG_IGN);
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
  const CMUnitTest tests[] = {
      TEST(names_and_addresses_of_the_certificate_are_accepted),
      TEST(other_names_are_refused),
      TEST(a_name_of_the_configuration_stands_for_what_is_dialed),
      TEST(strangers_are_refused_with_what_to_do),
      TEST(authorities_in_between_are_sent_or_given),
      TEST(those_out_of_their_time_are_refused_by_date),
      TEST(the_authorities_of_the_system_serve_when_none_are_given),
      TEST(pins_are_compared_with_and_without_verification),
      TEST(a_certificate_is_shown_to_who_asks),
      TEST(options_that_cannot_work_are_refused),
      TEST(what_is_no_tls_is_told_so),
      TEST(versions_below_the_least_are_refused),
      TEST(sessions_are_continued_for_the_same_name_only),
      TEST(a_session_outlives_its_context),
      TEST(workers_share_a_context),
  };
  return cmocka_run_group_tests(tests, nullptr, nullptr);
}
