// JSON and YAML, the two output formats for programs (views.h).

#include <google/protobuf/util/json_util.h>
#include <yaml-cpp/yaml.h>

#include "agent/ctl/views.h"

namespace vxvde {
namespace {

void Emit(const YAML::Node& node, YAML::Emitter& out) {
  switch (node.Type()) {
    case YAML::NodeType::Map:
      out << YAML::BeginMap;
      for (const auto& entry : node) {
        out << YAML::Key << entry.first.Scalar() << YAML::Value;
        Emit(entry.second, out);
      }
      out << YAML::EndMap;
      break;
    case YAML::NodeType::Sequence:
      out << (node.size() == 0 ? YAML::Flow : YAML::Block) << YAML::BeginSeq;
      for (const auto& item : node) Emit(item, out);
      out << YAML::EndSeq;
      break;
    default:
      // The tag "!" marks a quoted scalar. The quotes must stay: without them 12:34:56:00:00:01 is
      // a number to a YAML 1.1 parser.
      if (node.Tag() == "!") out << YAML::DoubleQuoted;
      out << node.Scalar();
  }
}

}  // namespace

std::string JsonOf(const google::protobuf::Message& message, bool lines) {
  google::protobuf::util::JsonPrintOptions options;
  options.add_whitespace = lines;
  options.always_print_primitive_fields = true;
  std::string out;
  // Fails only for times out of range, which the agent does not produce.
  if (!google::protobuf::util::MessageToJsonString(message, &out, options).ok()) out = "{}";
  if (!lines) out.push_back('\n');
  return out;
}

std::string YamlOf(const google::protobuf::Message& message) {
  YAML::Emitter out;
  Emit(YAML::Load(JsonOf(message, false)), out);
  return std::string(out.c_str()) + "\n";
}

}  // namespace vxvde
