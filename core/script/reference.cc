#include "script/reference.h"

#include "script/bind.h"

#include <fmt/format.h>

#include <vector>

namespace portolan {
namespace {

std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '|') out += '\\';
    out += c;
  }
  return out;
}

std::vector<std::string_view> split(std::string_view text, std::string_view separator) {
  std::vector<std::string_view> parts;
  while (!text.empty()) {
    const std::size_t at = text.find(separator);
    parts.push_back(text.substr(0, at));
    text = at == std::string_view::npos ? std::string_view() : text.substr(at + separator.size());
  }
  return parts;
}

// The names of arguments are the same everywhere, and so are their types.
std::string_view type_of(std::string_view argument) {
  if (argument == "duration") return "string|number";
  if (argument == "count" || argument == "time" || argument == "by") return "number";
  if (argument == "options" || argument == "table") return "table";
  if (argument == "function") return "function";
  if (argument == "raw") return "boolean";
  if (argument == "value" || argument == "...") return "any";
  return "string";
}

// Of an answer as a signature writes it: what is no type of Lua's is a table of ours, or a class.
std::string answer_type(std::string_view text) {
  std::string type;
  for (std::string_view part : split(text, " | ")) {
    if (!type.empty()) type += '|';
    if (part == "stream" || part == "task" || part == "subscription" || part == "socket" || part == "schema")
      type += fmt::format("portolan.{}", part);
    else if (part == "value")
      type += "any";
    else if (part == "iterator")
      type += "function";
    else if (part.starts_with('{') || part.starts_with("list"))
      type += "table";
    else if (part == "truncated")
      type += "boolean";
    else if (part == "topic" || part == "reason" || part == "rest?")
      type += "string?";
    else
      type += part;
  }
  return type;
}

// Commas that are not inside of braces.
std::vector<std::string_view> answers(std::string_view text) {
  std::vector<std::string_view> parts;
  std::size_t from = 0;
  int depth = 0;
  for (std::size_t at = 0; at < text.size(); ++at) {
    if (text[at] == '{') ++depth;
    if (text[at] == '}') --depth;
    if (text[at] != ',' || depth != 0) continue;
    parts.push_back(text.substr(from, at - from));
    from = at + 2;
  }
  if (from < text.size()) parts.push_back(text.substr(from));
  return parts;
}

}  // namespace

std::string lua_reference() {
  std::string out;
  for (const LuaArea& area : lua_areas()) {
    out += fmt::format("\n### {}\n\n{}\n\n| function | answers | what it does |\n|---|---|---|\n",
                       area.functions.size() == 1 ? fmt::format("{}{}", area.prefix, area.functions[0].name)
                                                  : fmt::format("{}…", area.prefix),
                       area.about);
    for (const LuaFunction& one : area.functions) {
      const std::string_view signature = one.signature;
      const std::size_t arrow = signature.find(" -> ");
      out +=
          fmt::format("| `{}{}{}` | {} | {} |\n", area.prefix, one.name, signature.substr(0, arrow),
                      arrow == std::string_view::npos ? "" : fmt::format("`{}`", escaped(signature.substr(arrow + 4))),
                      escaped(one.help));
    }
  }
  return out;
}

std::string lua_annotations() {
  std::string out =
      "---@meta portolan\n"
      "-- What scripts can call, for editors with the Lua language server. Made from the program: do not edit.\n\n"
      "---@class portolan\nportolan = { net = {}, store = {}, base64 = {}, hex = {}, json = { null = nil }, protobuf = "
      "{} }\n";
  for (const LuaArea& area : lua_areas()) {
    std::string_view prefix = area.prefix;
    const bool methods = prefix.ends_with(':');
    if (methods) {
      const std::string_view name = prefix.substr(0, prefix.size() - 1);
      out += fmt::format("\n--- {}\n---@class portolan.{}\nlocal {} = {{}}\n", area.about, name, name);
    }
    for (const LuaFunction& one : area.functions) {
      const std::string_view signature = one.signature;
      const std::size_t close = signature.find(')');
      std::string arguments;
      out += fmt::format("\n--- {}\n", one.help);
      for (std::string_view argument : split(signature.substr(1, close - 1), ", ")) {
        const bool optional = argument.ends_with('?');
        if (optional) argument.remove_suffix(1);
        if (argument == "…") argument = "...";
        std::string name(argument == "function" ? "func" : argument);
        // Two texts to compare have one name.
        if (fmt::format(", {},", arguments).find(fmt::format(" {},", name)) != std::string::npos) name += "2";
        out += fmt::format("---@param {}{} {}\n", name, optional ? "?" : "", type_of(argument));
        arguments += (arguments.empty() ? "" : ", ") + name;
      }
      if (const std::size_t arrow = signature.find(" -> "); arrow != std::string_view::npos) {
        for (const std::string_view answer : answers(signature.substr(arrow + 4)))
          out += fmt::format("---@return {}\n", answer_type(answer));
      }
      out += fmt::format("function {}{}({}) end\n", area.prefix, one.name, arguments);
    }
  }
  return out;
}

}  // namespace portolan
