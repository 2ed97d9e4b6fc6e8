// A table in nft's words, as `nft --stateless list table` of nftables 1.0.6 prints it, but for the
// order of elements: here they are in the order of their text.

#ifndef VXVDE_AGENT_NODE_PORT_TESTING_NFT_TEXT_H_
#define VXVDE_AGENT_NODE_PORT_TESTING_NFT_TEXT_H_

#include <string>

#include "absl/strings/string_view.h"
#include "plugin/os/nftables.h"

namespace vxvde {

// Empty for a table without chains.
std::string NftText(const NftTable& table);

// What nft has printed, with elements in the order of their text.
std::string WithSortedElements(absl::string_view listing);

}  // namespace vxvde

#endif  // VXVDE_AGENT_NODE_PORT_TESTING_NFT_TEXT_H_
