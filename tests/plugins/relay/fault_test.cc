#include "plugins/relay/fault.h"
#include "config/schema.h"
#include "plugins/relay/fault_set.h"

#include <nlohmann/json.hpp>

#include <cstdio>
#include <string>

#include "support/cmocka.h"

using namespace portolan;
using namespace portolan::relay;
using namespace std::chrono_literals;

namespace {

// A failing assert would jump over destructors: only texts and numbers are asserted on.
void expect(const std::string& text, std::string_view part) {
  if (text.find(part) != std::string::npos) return;
  std::fprintf(stderr, "expected: %.*s\nfound:    %s\n", static_cast<int>(part.size()), part.data(), text.c_str());
  fail();
}

std::string error_of(std::string_view text) {
  const auto fault = parse_fault(text);
  return fault ? "" : fault.error();
}

std::string again(std::string_view text) {
  const auto fault = parse_fault(text);
  return fault ? to_text(*fault) : fault.error();
}

void every_kind_is_read_and_written(void**) {
  const std::pair<std::string_view, std::string_view> lines[] = {
      {"latency latency=100ms jitter=20ms direction=to_client probability=0.5",
       "latency name=latency direction=to_client probability=0.5 latency=100ms jitter=20ms distribution=uniform"},
      {"bandwidth  rate=1048576 burst=64KiB name=slow seed=7 ",
       "bandwidth name=slow direction=both probability=1 seed=7 rate=1MiB/s burst=64KiB"},
      {"bandwidth rate=1/h", "bandwidth name=bandwidth direction=both probability=1 rate=1B/s"},
      {"loss probability=0.01", "loss name=loss direction=both probability=0.01"},
      {"duplicate", "duplicate name=duplicate direction=both probability=1 copies=1"},
      {"reorder gap=3", "reorder name=reorder direction=both probability=1 gap=3"},
      {"corrupt block=65537", "corrupt name=corrupt direction=both probability=1 block=65537"},
      {"size=10 variation=9 delay=1ms kind=slicer",
       "slicer name=slicer direction=both probability=1 size=10B variation=9B delay=1ms"},
      {"slow_close delay=2s", "slow_close name=slow_close direction=both probability=1 delay=2s"},
      {"reset", "reset name=reset direction=both probability=1"},
      {"close_after after_bytes=1KiB", "close_after name=close_after direction=both probability=1 after_bytes=1KiB"},
      {"black_hole after_time=1m", "black_hole name=black_hole direction=both probability=1 after_time=1m"},
  };
  for (const auto& [text, written] : lines) {
    assert_string_equal(again(text).c_str(), std::string(written).c_str());
    assert_string_equal(again(written).c_str(), std::string(written).c_str());
    expect("\n" + fault_help(), "\n" + std::string(kind_name(parse_fault(text)->kind)) + ": ");
  }
  assert_int_equal(std::size(lines) - 1, split_list(kFaultFields[0].choices, '|').size());
  assert_string_equal(check_schema(kFaultFields).c_str(), "");
}

void what_is_wrong_is_said(void**) {
  const std::pair<std::string_view, std::string_view> lines[] = {
      {"latncy", "found the text \"latncy\"; did you mean \"latency\"?"},
      {"", "kind: is missing: expected one of \"latency\""},
      {"latency", "latency: is missing: latency needs latency above zero"},
      {"reorder", "gap: is missing: reorder needs gap or delay above zero"},
      {"bandwidth rate=0", "rate: is missing: bandwidth needs rate above zero"},
      {"bandwidth rate=2TB/s", "rate: the text \"2TB/s\" is out of range"},
      {"latency latency=1ms jitter=3ms", "jitter: 3ms is more than the latency of 1ms"},
      {"slicer size=10 variation=10", "variation: 10B leaves nothing of a slice of 10B"},
      {"loss size=3", "size: is nothing that loss has"},
      {"reset delay=3s", "delay: is nothing that reset has: it takes after_bytes, after_time"},
      {"loss probability=1.5", "probability: the number 1.5 is out of range: expected 0 to 1"},
      {"loss probability=nan", "probability: the number nan is out of range"},
      {"duplicate copies=17", "copies: the number 17 is out of range: expected 1 to 16"},
      {"duplicate copies=two", "copies: expected a whole number (1 to 16), found the text \"two\""},
      {"loss seed=9007199254740992", "seed: the number 9007199254740992 is out of range"},
      {"loss direction=up",
       "direction: expected one of \"to_backend\", \"to_client\", \"both\", found the text \"up\""},
      {"loss now", "expected KEY=VALUE, found \"now\""},
      {"loss probability=1 probability=1", "probability: is given twice"},
      {"loss probabilty=1", "probabilty: unknown key; did you mean \"probability\"?"},
      {"loss name=a/b", "name: expected 1 to 64 of"},
      {"loss name=", "name: the text \"\" is 0 bytes long"},
      {"loss\n", "printable ASCII"},
  };
  for (const auto& [text, error] : lines) expect(error_of(text), error);
  expect(error_of(std::string(2000, ' ')), "at most 1024 bytes");
  expect(error_of("latency jitter=x block=y"), "\nblock: ");  // all of it at once
}

class Reported final : public Problems {
 public:
  void add(std::string_view key, std::string_view message) noexcept override {
    text += std::string(key) + ": " + std::string(message) + "\n";
  }
  std::string text;
};

void the_configuration_is_read_by_the_same_rules(void**) {
  Value entry;
  entry.kind = Value::Kind::table;
  const auto add = [&entry](std::string key, std::string text) {
    Value value;
    value.kind = Value::Kind::text;
    value.text = std::move(text);
    entry.fields.push_back({std::move(key), std::move(value)});
  };
  add("delay", "1s");
  add("jitter", "2s");
  add("kind", "latency");
  add("latency", "1s");
  std::vector<Problem> refused;
  Checker checker{refused, {}};
  const auto read = [&](Reported& reported) {
    return read_fault(OptionTree::read(entry, kFaultFields, "faults[2]", checker), "faults[2]", reported);
  };
  Reported reported;
  assert_false(read(reported).has_value());
  assert_int_equal(refused.size(), 0);
  assert_string_equal(reported.text.c_str(),
                      "faults[2].delay: is nothing that latency has: it takes latency, jitter, distribution\n"
                      "faults[2].jitter: 2s is more than the latency of 1s: bytes would come before they were sent\n");
  entry.erase("delay");
  entry.erase("jitter");
  Reported nothing;
  const auto fault = read(nothing);
  assert_true(fault == parse_fault("latency latency=1s").value());
}

void what_a_service_cannot_use_is_said(void**) {
  for (const char* text : {"loss", "duplicate", "reorder gap=1"}) {
    expect(unfit(*parse_fault(text), Carrier::streams), " makes no sense for streams: ");
    assert_string_equal(unfit(*parse_fault(text), Carrier::datagrams).c_str(), "");
    assert_string_equal(unfit(*parse_fault(text), Carrier::both).c_str(), "");
  }
  for (const char* text : {"slicer size=1", "slow_close delay=1s", "reset", "close_after"}) {
    expect(unfit(*parse_fault(text), Carrier::datagrams), " makes no sense for datagrams: ");
    assert_string_equal(unfit(*parse_fault(text), Carrier::streams).c_str(), "");
  }
}

void json_has_the_values_of_the_configuration(void**) {
  const auto json = nlohmann::json::parse(to_json(*parse_fault("reset name=r seed=5 after_bytes=1000001")));
  const nlohmann::json expected = {{"kind", "reset"},  {"name", "r"}, {"direction", "both"},
                                   {"probability", 1}, {"seed", 5},   {"after_bytes", "1000001"}};
  assert_string_equal(json.dump().c_str(), expected.dump().c_str());
}

void a_set_changes_into_another(void**) {
  const auto first = FaultSet::make({*parse_fault("loss"), *parse_fault("reset direction=to_client seed=3")}).value();
  assert_true(first->faults()[0].seed > 0);  // drawn, and shown
  assert_int_equal(first->faults()[1].seed, 3);
  assert_int_equal(nlohmann::json::parse(first->to_json()).size(), 2);
  assert_true(first->applies(FaultDirection::to_client, Carrier::streams));
  assert_false(first->applies(FaultDirection::to_backend, Carrier::streams));
  assert_true(first->applies(FaultDirection::to_backend, Carrier::datagrams));
  expect(first->with(*parse_fault("loss")).error(), "there is a fault \"loss\" already");
  expect(first->without("lass").error(), "there is no fault \"lass\"");
  const auto second = first->with(*parse_fault("loss name=more")).value()->without("reset").value();
  assert_int_equal(second->version(), 3);
  assert_int_equal(second->faults().size(), 2);
  assert_true(second->faults()[0] == first->faults()[0]);
  std::vector<Fault> many;
  for (std::size_t at = 0; at <= FaultSet::kMaxFaults; ++at)
    many.push_back(*parse_fault("loss name=" + std::to_string(at)));
  expect(FaultSet::make(many).error(), "33 faults are too many: at most 32");
}

}  // namespace

int main() {
  const CMUnitTest tests[] = {
      cmocka_unit_test(every_kind_is_read_and_written),
      cmocka_unit_test(what_is_wrong_is_said),
      cmocka_unit_test(the_configuration_is_read_by_the_same_rules),
      cmocka_unit_test(what_a_service_cannot_use_is_said),
      cmocka_unit_test(json_has_the_values_of_the_configuration),
      cmocka_unit_test(a_set_changes_into_another),
  };
  return cmocka_run_group_tests(tests, nullptr, nullptr);
}
