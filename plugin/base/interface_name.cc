#include "plugin/base/interface_name.h"

#include <algorithm>

#include "absl/strings/ascii.h"

namespace vxvde {

bool IsInterfaceName(absl::string_view text) {
  if (text.empty() || text.size() > kMaxInterfaceName || text == "." || text == "..") return false;
  return std::none_of(text.begin(), text.end(), [](unsigned char c) {
    return c == '/' || c == ':' || c == ' ' || absl::ascii_iscntrl(c);
  });
}

}  // namespace vxvde
