// The chat as its users see it: a whole daemon, several workers, TLS, reloads, slow readers and a crowd.
#include "support/certificates.h"
#include "support/daemon.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "support/cmocka.h"  // last: it defines fail()

using namespace portolan::testing;

namespace {

std::string service(const std::string& options = "", int workers = 1,
                    const std::string& listen = "'tcp://127.0.0.1:0'") {
  return fmt::format(
      "return {{ workers = {}, services = {{ {{ plugin = 'chat', name = 'lobby', listen = {}, {} }} }} }}\n", workers,
      listen, options);
}

// Somebody in the chat. Lines come without their ends.
class Person {
 public:
  Person(const std::string& address, std::string called, ClientOptions options = {})
      : name(std::move(called)), client_(address, options) {
    say(name);
    const std::string greeting = hear();
    if (!greeting.starts_with("Enter username: * Welcome")) print_error("%s: %s\n", name.c_str(), greeting.c_str());
    hear_until("* You are in ");
  }
  bool say(const std::string& line) { return client_.send(line + "\n"); }
  std::string hear() {
    std::string line = client_.receive_line();
    if (line.ends_with('\n')) line.pop_back();
    return line;
  }
  // The first line that begins so; what comes before it is dropped.
  std::string hear_until(std::string_view beginning) {
    for (;;) {
      const std::string line = hear();
      if (line.starts_with(beginning)) return line;
      if (client_.end() != End::none || line.empty()) {
        print_error("%s waits for \"%.*s\": %s\n", name.c_str(), static_cast<int>(beginning.size()), beginning.data(),
                    client_.error().c_str());
        return {};
      }
    }
  }
  Client& client() { return client_; }
  std::string name;

 private:
  Client client_;
};

#define assert_hears(person, text) assert_string_equal((person).hear().c_str(), text)

void people_and_a_program_talk_in_one_room(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(service());
  Person alice(daemon.address("lobby"), "alice");
  Person bob(daemon.address("lobby"), "bob");
  assert_hears(alice, "* bob joined");
  Person bot(daemon.address("lobby"), "bot");
  assert_hears(alice, "* bot joined");
  assert_hears(bob, "* bot joined");
  assert_true(bot.say(R"({"from":"x","content":"I am a \"bot\"","time":""})"));
  assert_true(Json::parse(bot.hear())["from"] == "System");
  assert_hears(alice, "[bot] I am a \"bot\"");
  assert_true(alice.client().send("hello\r\n"));
  assert_hears(bob, "[bot] I am a \"bot\"");
  assert_hears(bob, "[alice] hello");
  const Json said = Json::parse(bot.hear());
  assert_true(said["from"] == "alice" && said["content"] == "hello" && said["time"].get<std::string>().size() == 8);
  assert_true(bob.say("/quit"));
  assert_hears(bob, "* Goodbye.");
  assert_hears(alice, "* bob left");
  bob.client().receive_all();
  assert_string_equal(to_text(bob.client().end()), to_text(End::closed));
  bot.client().close_with_reset();
  assert_hears(alice, "* bot left");
  // The name is free again.
  Person again(daemon.address("lobby"), "bob");
  assert_hears(alice, "* bob joined");
  assert_true(daemon.wait_for_counter("lobby", "said", 2));
}

void names_are_one_persons_on_all_workers(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(service("", 4));
  std::vector<std::unique_ptr<Person>> people;
  for (int number = 0; number < 16; ++number)
    people.push_back(std::make_unique<Person>(daemon.address("lobby"), fmt::format("p{}", number)));
  for (int number = 0; number < 16; ++number) {
    Client client(daemon.address("lobby"));
    assert_true(client.send(fmt::format("P{}\n", number)));
    assert_string_equal(client.receive_line().c_str(), "Enter username: * This name is taken.\n");
  }
  people[3]->say("/list");
  assert_true(people[3]
                  ->hear_until("* 16 users: ")
                  .ends_with("p0, p1, p10, p11, p12, p13, p14, p15, p2, p3, p4, p5, p6, p7, p8, p9"));
  people[3]->say("to all");
  for (const auto& person : people)
    if (person->name != "p3") assert_false(person->hear_until("[p3] to all").empty());
  assert_true(daemon.wait_for_counter("lobby", "names_refused", 16));
}

void every_command_does_what_it_says(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(
      service("operator_password = 'correct horse', on_command = function(user, command, arguments) "
              "if command == 'echo' then return user .. ' says ' .. arguments end end",
              2));
  Person alice(daemon.address("lobby"), "alice");
  Person bob(daemon.address("lobby"), "bob");
  alice.hear_until("* bob joined");
  alice.say("/help");
  alice.hear_until("* /quit: ");
  alice.say("/who");
  assert_hears(alice, "* 2 in lobby: alice, bob");
  alice.say("/msg bob for you");
  assert_hears(bob, "[alice to you] for you");
  assert_hears(alice, "* To bob: for you");
  alice.say("/me waves");
  assert_hears(bob, "* alice waves");
  alice.say("/nick ann");
  assert_hears(bob, "* alice is now ann");
  alice.say("/join den");
  assert_hears(bob, "* ann left");
  bob.say("/join den");
  alice.hear_until("* bob joined");
  alice.say("/topic maps");
  assert_false(bob.hear_until("* ann set the topic: maps").empty());
  bob.say("/topic");
  assert_hears(bob, "* The topic is: maps");
  bob.say("/rooms");
  assert_hears(bob, "* den (2): maps");
  assert_hears(bob, "* lobby (0)");
  bob.say("/history");
  assert_hears(bob, "* Nothing has been said yet.");
  bob.say("first");
  alice.hear_until("[bob] first");
  bob.say("/history 5");
  assert_hears(bob, "[bob] first");
  alice.say("/mute bob 1h");
  assert_hears(bob, "* bob is muted for 1h by ann");
  bob.say("hm");
  assert_true(bob.hear().starts_with("* You are muted for "));
  alice.say("/mute bob 0");
  assert_hears(bob, "* bob may speak again");
  alice.say("/kick bob");
  assert_hears(bob, "* You were kicked from den by ann");
  bob.hear_until("* You are in lobby");
  bob.say("/echo a b");
  assert_hears(bob, "* bob says a b");
  alice.say("/part");
  bob.hear_until("* ann joined");
  bob.say("/oper correct horse");
  assert_hears(bob, "* You are an operator of all rooms.");
  bob.say("/ban ann");
  assert_hears(bob, "* Not banned: 127.0.0.1 is in bans.never of the configuration.");
  bob.say("/kick ann go away");
  alice.hear_until("* You were kicked from lobby by bob: go away");
  alice.client().receive_all();
  assert_string_equal(to_text(alice.client().end()), to_text(End::closed));
  bob.hear_until("* ann left");
}

void a_ban_reaches_the_address(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(fmt::format(
      "return {{ bans = {{ never = {{ '127.0.0.1' }} }}, services = {{ {{ plugin = 'chat', name = 'lobby', "
      "listen = {{ 'tcp://127.0.0.1:0', 'unix://{}/lobby.sock' }}, operator_password = 'correct horse' }} }} }}",
      daemon.folder().path()));
  Person alice(daemon.address("lobby"), "alice");
  Person eve(daemon.address("lobby"), "eve", {.source = "127.0.0.2"});
  Person local(daemon.address("lobby", "unix"), "local");
  alice.say("/oper correct horse");
  alice.hear_until("* You are an operator of all rooms.");
  alice.say("/ban local");
  alice.hear_until("* Not banned: a ban is of an address; unix peers have none");
  alice.say("/ban eve 1h");
  alice.hear_until("* eve was banned for 1h by alice");
  alice.hear_until("* eve left");
  const Json bans = daemon.query({"bans"})["bans"];
  assert_int_equal(bans.size(), 1);
  assert_true(bans[0]["address"] == "127.0.0.2" && bans[0]["reason"] == "lobby: by alice in the chat, as eve");
  Client back(daemon.address("lobby"), {.source = "127.0.0.2"});
  assert_string_equal(back.receive_all().c_str(), "");
}

void tls_and_unix_are_in_the_same_room(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(service(
      "tls = { self_signed = true }", 1,
      fmt::format("{{ 'tcp://127.0.0.1:0', 'tls://127.0.0.1:0', 'unix://{}/lobby.sock' }}", daemon.folder().path())));
  const ClientTls tls;
  Person plain(daemon.address("lobby"), "plain");
  Person secret(daemon.address("lobby", "tls"), "secret", {.tls = tls});
  Person local(daemon.address("lobby", "unix"), "local");
  for (Person* speaker : {&plain, &secret, &local}) {
    speaker->say("from " + speaker->name);
    for (Person* listener : {&plain, &secret, &local})
      if (listener != speaker)
        assert_false(listener->hear_until(fmt::format("[{}] from {}", speaker->name, speaker->name)).empty());
  }
}

void the_operator_of_the_machine_looks_and_speaks(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(service("", 2));
  Person alice(daemon.address("lobby"), "alice");
  Person bob(daemon.address("lobby"), "bob");
  alice.hear_until("* bob joined");
  bob.say("/join den");
  alice.hear_until("* bob left");
  Json members = daemon.query({"command", "lobby", "members"});
  assert_int_equal(members.size(), 2);
  assert_true(members[1]["name"] == "bob" && members[1]["room"] == "den" && members[1]["operator"] == true);
  assert_int_equal(daemon.query({"command", "lobby", "rooms"}).size(), 2);
  assert_int_equal(daemon.command({"command", "lobby", "say", "text=to all of you"}).code, 0);
  assert_hears(alice, "* to all of you");
  assert_false(bob.hear_until("* to all of you").empty());
  assert_int_equal(daemon.command({"command", "lobby", "kick", "name=BOB", "reason=enough"}).code, 0);
  assert_hears(bob, "* You were kicked: enough");
  assert_true(daemon.command({"command", "lobby", "kick", "name=nobody"}).code != 0);
  assert_true(wait_until([&] { return daemon.query({"command", "lobby", "members"}).size() == 1; }));
}

void a_slow_reader_is_told_what_it_missed(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(service("user_rate = 0, queue = 50, queue_bytes = '64KiB'"));
  Person slow(daemon.address("lobby"), "slow", {.receive_buffer = 4096});
  Person alice(daemon.address("lobby"), "alice");
  Person bob(daemon.address("lobby"), "bob");
  const std::string filler(3000, 'x');
  int sent = 0;
  // Until the sockets' buffers are full and the queue has been, too. Bob reads, and so paces it.
  while (daemon.counter("lobby", "missed") <= 0 && sent < 20'000) {
    // Not in the counter before it is told: the queue is known to be over when more has been said than it and the
    // kernel can hold.
    for (int number = 0; number < 20; ++number) assert_true(alice.say(fmt::format("{} {}", sent++, filler)));
    assert_false(bob.hear_until(fmt::format("[alice] {} ", sent - 1)).empty());
    if (sent * filler.size() > (24U << 20U)) break;
  }
  int next = 0;
  int missed = 0;
  bool in_order = true;
  slow.say("/who");
  while (next < sent) {
    const std::string line = slow.hear();
    if (line.empty()) break;
    if (line.ends_with(" missed")) {
      const int count = std::atoi(line.c_str() + 2);
      missed += count;
      next += count;
    } else if (line.starts_with("[alice] ")) {
      in_order &= std::atoi(line.c_str() + 8) == next;
      ++next;
    }
  }
  print_message("%d sent, %d missed\n", sent, missed);
  assert_true(in_order);
  assert_int_equal(next, sent);
  assert_true(missed > 0);
  assert_int_equal(daemon.counter("lobby", "missed"), missed);
  alice.say("and now");
  assert_false(slow.hear_until("[alice] and now").empty());
}

void a_reload_loses_nothing_and_changes_the_hooks(void** state) {
  Daemon& daemon = daemon_of(state);
  const auto configuration = [](int number) {
    return service(fmt::format("user_rate = 0, on_message = function(user, text) return '{}:' .. text end", number), 2);
  };
  daemon.start(configuration(0));
  std::vector<std::unique_ptr<Person>> people;
  constexpr int kSpeakers = 8;
  for (int number = 0; number < kSpeakers; ++number)
    people.push_back(std::make_unique<Person>(daemon.address("lobby"), fmt::format("p{}", number)));
  std::map<std::string, int> said;
  constexpr int kReloads = 4;
  for (int reload = 1; reload <= kReloads; ++reload) {
    // Under way while the reload happens.
    for (int round = 0; round < 50; ++round)
      for (int number = 0; number < kSpeakers; ++number)
        people[number]->say(fmt::format("{}", said[people[number]->name]++));
    daemon.configure(configuration(reload));
    assert_int_equal(daemon.command({"reload"}).code, 0);
    // From here on everybody speaks by the new functions.
    for (int number = 0; number < kSpeakers; ++number)
      people[number]->say(fmt::format("{} after {}", said[people[number]->name]++, reload));
    people.push_back(std::make_unique<Person>(daemon.address("lobby"), fmt::format("late{}", reload)));
  }
  for (std::size_t listener = 0; listener < kSpeakers; ++listener) {
    std::map<std::string, int> next;
    bool good = true;
    const std::size_t expected = (kSpeakers - 1) * static_cast<std::size_t>(kReloads) * 51;
    for (std::size_t heard = 0; heard < expected;) {
      const std::string line = people[listener]->hear();
      if (line.starts_with("* ") && line.ends_with(" joined")) continue;
      const std::size_t end = line.find("] ");
      if (!line.starts_with("[p") || end == std::string::npos) {
        print_error("%s heard \"%s\"\n", people[listener]->name.c_str(), line.c_str());
        fail();
      }
      ++heard;
      const std::string from = line.substr(1, end - 1);
      const int generation = std::atoi(line.c_str() + end + 2);
      const std::string text = line.substr(line.find(':') + 1);
      good &= std::atoi(text.c_str()) == next[from]++;
      if (const std::size_t after = text.find(" after "); after != std::string::npos)
        good &= std::atoi(text.c_str() + after + 7) == generation;
    }
    assert_true(good);
  }
  // They all are still there, and in one room.
  people[0]->say("/who");
  people[0]->hear_until(fmt::format("* {} in lobby", people.size()));
}

// A hook that waits holds back its user's lines alone, in their order; the rest of the room goes on.
void hooks_wait_for_their_user_alone(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(service(
      "user_rate = 0,\n"
      "on_join = function(user) portolan.sleep('10ms') if user == 'mallory' then return false, 'not you' end end,\n"
      "on_message = function(user, text)\n"
      "  if text:find('later') then portolan.sleep('50ms') return text:upper() end\n"
      "  if text == 'never' then portolan.sleep('1ms') return nil, 'no' end\n"
      "  if text == 'fails' then portolan.sleep('1ms') error('oops') end\n"
      "end,\n"
      "on_command = function(user, name, rest) portolan.sleep('5ms') if name == 'dice' then return 6 end end"));
  Person alice(daemon.address("lobby"), "alice");
  Person bob(daemon.address("lobby"), "bob");
  assert_hears(alice, "* bob joined");
  assert_true(alice.client().send("later 1\nnow 2\nlater 3\nnever\nfails\n/dice\n/nothing\n/nick mallory\n"));
  assert_hears(bob, "[alice] LATER 1");
  assert_hears(bob, "[alice] now 2");
  assert_hears(bob, "[alice] LATER 3");
  assert_hears(bob, "[alice] fails");
  assert_hears(alice, "* Not sent: no");
  assert_hears(alice, "* 6");
  assert_hears(alice, "* There is no command /nothing; /help lists them.");
  assert_hears(alice, "* Not renamed: not you");
  assert_int_equal(daemon.counter("lobby", "commands"), 3);
  // One who is gone while the hook waits leaves nothing behind; the room is served meanwhile.
  Person carol(daemon.address("lobby"), "carol");
  assert_hears(bob, "* carol joined");
  assert_true(carol.say("later 4") && bob.say("between"));
  assert_hears(carol, "[bob] between");
  carol.client().close_with_reset();
  assert_string_equal(bob.hear_until("* carol left").c_str(), "* carol left");
  assert_int_equal(daemon.counter("lobby", "hook_failures"), 1);
}

// A line comes twice when its hook waits, and counts once.
void a_line_that_waits_counts_once(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(service("user_rate = '1/h', on_message = function() portolan.sleep('5ms') end"));
  Person alice(daemon.address("lobby"), "alice");
  Person bob(daemon.address("lobby"), "bob");
  assert_hears(alice, "* bob joined");
  assert_true(alice.client().send("one\ntwo\n"));
  assert_hears(bob, "[alice] one");
  assert_hears(alice, "* Too fast: what is over the limit is dropped.");
}

// What a hook has answered is for the line that it was asked about; and nobody gets around a hook that waits.
void an_answer_is_for_its_line_alone(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(
      service("on_message = function(user, text)\n"
              "  print('asked ' .. text) portolan.sleep(text == 'private' and '300ms' or '1ms')\n"
              "  if text:find('evil') then return nil, 'evil' end return text end"));
  Person alice(daemon.address("lobby"), "alice");
  Person bob(daemon.address("lobby"), "bob");
  Person carol(daemon.address("lobby"), "carol");
  assert_hears(alice, "* bob joined");
  assert_hears(alice, "* carol joined");
  assert_true(alice.client().send("/msg bob private\nevil words\n"));
  assert_true(wait_until([&] { return daemon.log_has("asked private"); }));
  bob.client().close();
  assert_hears(alice, "* bob left");
  assert_hears(alice, "* There is nobody named bob.");
  assert_hears(alice, "* Not sent: evil");
  // A last line without its end: there is no time to wait.
  assert_true(alice.client().send("evil end") && alice.client().finish_sending());
  alice.hear_until("* Not sent: ");
  assert_string_equal(carol.hear_until("* bob").c_str(), "* bob left");
  assert_hears(carol, "* alice left");
}

// The configuration whose hook waits goes: that of the next one answers.
void a_reload_answers_for_a_hook_that_waits(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(service());
  Person alice(daemon.address("lobby"), "alice");
  Person bob(daemon.address("lobby"), "bob");
  assert_hears(alice, "* bob joined");
  daemon.configure(service("on_message = function(user, text) print('waits') portolan.sleep('1h') end"));
  assert_int_equal(daemon.command({"reload"}).code, 0);
  assert_true(alice.client().send("one\ntwo\n"));
  assert_true(wait_until([&] { return daemon.log_has("waits"); }));
  daemon.configure(service("on_message = function(user, text) return 'new ' .. text end"));
  assert_int_equal(daemon.command({"reload"}).code, 0);
  assert_hears(bob, "[alice] new one");
  assert_hears(bob, "[alice] new two");
}

void an_idle_member_costs_little(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(service("max_sessions_per_client = 0"));
  constexpr int kMembers = 1000;
  std::vector<std::unique_ptr<Client>> clients;
  const auto enter = [&](int from, int to) {
    for (int number = from; number < to; ++number) {
      clients.push_back(std::make_unique<Client>(daemon.address("lobby")));
      assert_true(clients.back()->send(fmt::format("member{}\n/join room{}\n", number, number % 50)));
    }
    assert_true(wait_until(
        [&] { return daemon.query({"command", "lobby", "members"}).size() == static_cast<std::size_t>(to); }));
  };
  enter(0, 100);
  const long before = daemon.facts().resident_kib;
  enter(100, 100 + kMembers);
  for (auto& client : clients) client->receive(1);
  const long bytes = (daemon.facts().resident_kib - before) * 1024 / kMembers;
  print_message("%ld bytes for a member\n", bytes);
  // 1.7 KiB as a rule; the heap grows in steps, which fall to 1000 members or to none.
  if (test_scale() == 1) assert_true(bytes <= 2560);
}

// Members join, talk, rename, move and vanish at random. Afterwards nobody is there who has gone, and no receiver has
// heard one sender's messages in another order than he sent them.
void a_crowd_comes_and_goes(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(service("user_rate = 0, max_sessions_per_client = 0", 2));
  struct Guest {
    std::unique_ptr<Client> client;
    std::string kept;
    std::map<int, int> last;  // of each sender, by his number, the last that was heard
  };
  const int crowd = scaled(200, 20);
  std::vector<Guest> guests(static_cast<std::size_t>(crowd));
  std::vector<int> sent(static_cast<std::size_t>(crowd) * 1000);
  std::mt19937 random(7);
  int next_number = 0;
  std::vector<int> number_of(guests.size());
  bool ordered = true;
  long heard = 0;
  const auto listen = [&](Guest& guest) {
    char block[16384];
    for (;;) {
      const ssize_t got = recv(guest.client->descriptor(), block, sizeof block, MSG_DONTWAIT);
      if (got <= 0) break;
      guest.kept.append(block, static_cast<std::size_t>(got));
    }
    std::size_t from = 0;
    for (std::size_t end = 0; (end = guest.kept.find('\n', from)) != std::string::npos; from = end + 1) {
      const std::string_view line = std::string_view(guest.kept).substr(from, end - from);
      int sender = 0;
      int number = 0;
      const std::size_t text = line.find("] m ");
      if (text == std::string_view::npos ||
          std::sscanf(guest.kept.c_str() + from + text + 4, "%d %d", &sender, &number) != 2)
        continue;
      ++heard;
      int& last = guest.last[sender];
      ordered &= number > last;
      last = number;
    }
    guest.kept.erase(0, from);
  };
  const auto arrive = [&](std::size_t index) {
    Guest& guest = guests[index];
    guest = {};
    number_of[index] = next_number++;
    guest.client = std::make_unique<Client>(daemon.address("lobby"));
    guest.client->send(fmt::format("g{}\n", number_of[index]));
  };
  for (std::size_t index = 0; index < guests.size(); ++index) arrive(index);
  // For a while, and until the daemon, which may have little of the machine, has passed on enough to judge by.
  const Deadline deadline(Milliseconds(3000));
  const Deadline patience(Milliseconds(60'000));
  const int most = crowd * 900;
  while (!patience.passed() && (!deadline.passed() || heard <= scaled(1000))) {
    for (int step = 0; step < 50; ++step) {
      const std::size_t index = random() % guests.size();
      Guest& guest = guests[index];
      const int number = number_of[index];
      const auto chance = random() % 20;
      switch (next_number < most ? chance : std::max(chance, decltype(chance){5})) {
        case 0:
          random() % 2 ? guest.client->close() : guest.client->close_with_reset();
          arrive(index);
          break;
        case 1: guest.client->send_what_fits(fmt::format("/nick g{}x{}\n", number, random() % 100)); break;
        case 2: guest.client->send_what_fits(fmt::format("/join room{}\n", random() % 3)); break;
        case 3: guest.client->send_what_fits("/part\n"); break;
        case 4:
          guest.client->send_what_fits("/quit\n");
          guest.client->close();
          arrive(index);
          break;
        default:
          guest.client->send_what_fits(fmt::format("m {} {}\n", number, ++sent[static_cast<std::size_t>(number)]));
      }
    }
    for (Guest& guest : guests) listen(guest);
  }
  // Who is there is who has not gone.
  const auto members = [&] { return daemon.query({"command", "lobby", "members"}).size(); };
  const bool settled = wait_until([&] {
    for (Guest& guest : guests) listen(guest);
    return members() == guests.size();
  });
  if (!settled) print_error("%zu members, and there are %zu guests\n", members(), guests.size());
  assert_true(settled);
  print_message("%d guests, %ld messages heard\n", next_number, heard);
  assert_true(ordered);
  assert_true(heard > scaled(1000));
  for (Guest& guest : guests) guest.client->close();
  assert_true(wait_until([&] { return members() == 0; }));
  assert_int_equal(daemon.query({"command", "lobby", "rooms"}).size(), 1);
  assert_true(wait_until([&] { return daemon.counter("lobby", "sessions_open") == 0; }));
}

// What was said before a stop is in the history after the next start, each once and in its order.
void a_history_outlives_the_daemon(void** state) {
  Daemon& daemon = daemon_of(state);
  const std::string configuration = service("keep_history = true, history = 3", 2);
  daemon.start(configuration);
  {
    Person alice(daemon.address("lobby"), "alice");
    Person bob(daemon.address("lobby"), "bob");
    for (const char* line : {"one", "two", "/me waves", "three"}) {
      alice.say(line);
      bob.hear_until(std::string_view(line) == "/me waves" ? "* alice waves" : std::string("[alice] ") + line);
    }
    alice.say("/join den");
    alice.say("in the den");
    alice.say("/history");
    assert_string_equal(alice.hear_until("[alice]").c_str(), "[alice] in the den");
  }
  assert_int_equal(daemon.stop(), 0);
  daemon.start(configuration);
  Person carol(daemon.address("lobby"), "carol");
  const auto told = [&](const std::string& room) {
    // An end that is sure to come.
    carol.say("/history");
    carol.say("/topic");
    std::string all;
    for (std::string line; !(line = carol.hear()).empty() && line != "* There is no topic.";) all += line + "|";
    return all.find(room) == std::string::npos ? std::string() : all;
  };
  std::string all;
  assert_true(wait_until([&] { return !(all = told("three")).empty(); }));
  assert_string_equal(all.c_str(), "[alice] two|* alice waves|[alice] three|");
  carol.say("four");
  assert_string_equal(told("four").c_str(), "* alice waves|[alice] three|[carol] four|");
  carol.say("/join den");
  carol.hear_until("* You are its operator");
  assert_true(wait_until([&] { return !(all = told("den")).empty(); }));
  assert_string_equal(all.c_str(), "[alice] in the den|");
}

}  // namespace

int main() {
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_daemon, end_daemon)
  const CMUnitTest tests[] = {
      TEST(a_history_outlives_the_daemon),
      TEST(people_and_a_program_talk_in_one_room),
      TEST(names_are_one_persons_on_all_workers),
      TEST(every_command_does_what_it_says),
      TEST(a_ban_reaches_the_address),
      TEST(tls_and_unix_are_in_the_same_room),
      TEST(the_operator_of_the_machine_looks_and_speaks),
      TEST(a_slow_reader_is_told_what_it_missed),
      TEST(a_reload_loses_nothing_and_changes_the_hooks),
      TEST(hooks_wait_for_their_user_alone),
      TEST(a_line_that_waits_counts_once),
      TEST(an_answer_is_for_its_line_alone),
      TEST(a_reload_answers_for_a_hook_that_waits),
      TEST(an_idle_member_costs_little),
      TEST(a_crowd_comes_and_goes),
  };
  return cmocka_run_group_tests_name("process.chat", tests, nullptr, nullptr);
}
