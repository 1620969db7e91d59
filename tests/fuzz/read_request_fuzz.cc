// What a script asks of its input: the answer is the same however the bytes are cut, and lies within them. Input: the kind, the
// size, the header, a delimiter, then the bytes.
#include "fuzz_target.h"
#include "script/read_request.h"

#include <string>

using namespace portolan;
using fuzz::check;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* input_data, std::size_t size) {
  fuzz::Input input(input_data, size);
  ReadRequest whole;
  whole.kind = static_cast<ReadRequest::Kind>(input.byte() % 5);
  whole.size = input.byte() % 40 + 1U;
  const std::uint8_t header = input.byte();
  whole.header = 1U << header % 3;
  whole.little_endian = (header & 4U) != 0;
  whole.delimiter = std::string(1 + header % 2, static_cast<char>(input.byte()));
  ReadRequest pieces = whole;
  const std::string_view data = input.rest();

  using State = ReadRequest::Answer::State;
  ReadRequest::Answer step;
  std::size_t given = 0;
  while (step.state == State::incomplete && given < data.size()) step = pieces.look(data.substr(0, ++given));
  // All at once it may see that more is too long, or take more of what it may take any of.
  const auto answer = whole.look(data);
  if (step.state == State::complete) {
    check(step.used <= given && step.value.size() <= whole.size, "an answer is within its bounds");
    check(step.used > 0, "an answer takes something");
    check(step.value.data() >= data.data() && step.value.data() + step.value.size() <= data.data() + given,
          "an answer is a part of the data");
    check(answer.state == State::complete, "what comes in pieces comes whole");
    if (whole.kind != ReadRequest::Kind::some)
      check(answer.value == step.value && answer.used == step.used, "the cuts change nothing");
  } else {
    check(step.state == answer.state, "the cuts do not change that there is no answer");
  }
  return 0;
}
