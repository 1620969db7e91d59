// The head of an HTTP answer: what is taken from it, what is refused, and when.
#include "plugins/relay/http_check.h"

#include "support/cmocka.h"

#include <string>

using namespace portolan::relay;

namespace {

HttpHead read(const std::string& text) {
  for (std::size_t part = 0; part < text.size(); ++part) {
    const auto early = parse_http_head(std::string_view(text).substr(0, part));
    assert_true(!early && early.error().refused.empty());
  }
  const auto head = parse_http_head(text + "what follows\r\n\r\n");
  assert_true(head.has_value());
  assert_int_equal(head->size, text.size());
  return *head;
}

void an_answer_says_its_status_and_where_it_ends(void**) {
  HttpHead head = read("HTTP/1.1 200 OK\r\ncontent-LENGTH: \t12 \r\nX:\r\n\r\n");
  assert_true(head.status == 200 && head.body == 12 && head.keeps_alive);
  head = read("HTTP/1.1 503\r\nContent-Length: 12\r\nConnection: upgrade ,Close\r\n\r\n");
  assert_true(head.status == 503 && head.body == 12 && !head.keeps_alive);
  head = read("HTTP/1.0 200 \r\nContent-Length: 0\r\n\r\n");
  assert_true(head.body == 0 && !head.keeps_alive);
  head = read("HTTP/1.0 200 OK\r\nContent-Length: 0\r\nContent-Length: 0\r\nConnection: Keep-Alive\r\n\r\n");
  assert_true(head.keeps_alive);
  head = read("HTTP/1.1 200 OK\r\nContent-Length: 7\r\nTransfer-Encoding: chunked\r\n\r\n");
  assert_true(!head.body && !head.keeps_alive);
  head = read("HTTP/1.1 200 OK\r\n\r\n");
  assert_true(!head.body && !head.keeps_alive);
  head = read("HTTP/1.1 304 Not Modified\r\nContent-Length: 700\r\n\r\n");
  assert_true(head.body == 0 && head.keeps_alive);
}

void what_is_no_http_is_refused_as_soon_as_it_is_seen(void**) {
  for (const char* text : {
           "S",
           "HTTP/2 200\r\n",
           "HTTP/1.1 20x OK\r\n",
           "HTTP/1.1 099 OK\r\n",
           "HTTP/1.1 2000\r\n",
           "HTTP/1.x 200 OK\r\n",
           "HTTP/1.1 200 O\x01K\r\n",
           "HTTP/1.1 200 OK\n",
           "\nHTTP/1.1 200 OK\r\n",
           "HTTP/1.1 200 OK\r\nno colon\r\n",
           "HTTP/1.1 200 OK\r\n: nameless\r\n",
           "HTTP/1.1 200 OK\r\nspace : x\r\n",
           "HTTP/1.1 200 OK\r\nA: b\r\n folded: x\r\n",
           "HTTP/1.1 200 OK\r\nA: b\rc\r\n",
           "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n",
           "HTTP/1.1 200 OK\r\nContent-Length: 1, 1\r\n",
           "HTTP/1.1 200 OK\r\nContent-Length:\r\n",
           "HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551616\r\n",
           "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n",
       }) {
    const auto head = parse_http_head(text);
    if (head || head.error().refused.empty()) print_error("accepted: %s\n", text);
    assert_true(!head && !head.error().refused.empty());
  }
  const std::string status = "HTTP/1.1 200 OK\r\nX: ";
  const std::string end = "\r\n\r\n";
  const std::string longest = status + std::string(kMaxHttpHead - status.size() - end.size(), 'x') + end;
  assert_true(parse_http_head(longest).has_value());
  const auto over = parse_http_head(status + "x" + longest.substr(status.size()));
  assert_true(!over && over.error().refused == "the head of its answer is over 16 KiB");
}

void a_request_is_whole(void**) {
  assert_string_equal(http_request("/up?x=1", "nas.lan:80").c_str(),
                      "GET /up?x=1 HTTP/1.1\r\nHost: nas.lan:80\r\nUser-Agent: portolan\r\nAccept: */*\r\n\r\n");
}

}  // namespace

int main() {
  const CMUnitTest tests[] = {
      cmocka_unit_test(an_answer_says_its_status_and_where_it_ends),
      cmocka_unit_test(what_is_no_http_is_refused_as_soon_as_it_is_seen),
      cmocka_unit_test(a_request_is_whole),
  };
  return cmocka_run_group_tests(tests, nullptr, nullptr);
}
