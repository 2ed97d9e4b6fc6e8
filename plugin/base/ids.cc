// The text form of a Peer.

#include "plugin/base/ids.h"

#include "absl/strings/str_cat.h"

namespace vxvde {

std::string Peer::ToString() const {
  return address.is_v6() ? absl::StrCat("[", address.ToString(), "]:", port)
                         : absl::StrCat(address.ToString(), ":", port);
}

}  // namespace vxvde
